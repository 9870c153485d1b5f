"""GET /docs: Swagger UI, served from this server's own files. FastAPI's own page loads it from another host.

The page has no inline script, so its policy forbids them; FastAPI's page needs 'unsafe-inline'. Swagger UI loads its
icons from data: URLs.
"""

from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import Response

from service.routes.page_files import PageFiles

__all__ = ["add_documentation"]

FOLDER = Path(__file__).resolve().parent.parent / "swagger"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def add_documentation(app: FastAPI) -> None:
    """Serve the page at /docs and its files under /docs/assets/."""
    page = PageFiles(FOLDER, POLICY, package=("fastapi_swagger", "resources"))
    app.mount("/docs/assets", page, name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)

    @app.get("/docs/", include_in_schema=False)
    async def docs_with_slash() -> Response:
        return Response(status_code=308, headers={"Location": "../docs"})  # relative: behind a prefix and TLS too
