"""GET / and /playground/…: the page on which α is tried by hand. Plain files, no build step, no other host.

The page may load nothing but this server's own files, and holds no script or style of its own, so a strict policy
works; were a class name ever to slip through as markup, the browser would still run none of it.
"""

from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import Response

from service.routes.page_files import PageFiles

__all__ = ["add_playground"]

FOLDER = Path(__file__).resolve().parent.parent / "playground"
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


def add_playground(app: FastAPI) -> None:
    """Serve the page at / and its files under /playground/."""
    page = PageFiles(FOLDER, POLICY)
    app.mount("/playground", page, name="playground")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def root(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)
