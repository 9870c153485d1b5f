"""GET / and /playground/…: a page to try alpha by hand. It consists of plain files and has no build step.

The page loads only this server's own files and has no inline script or style, which allows a strict policy: if a class
name were ever rendered as markup, the browser would still not run it.
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

    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)
