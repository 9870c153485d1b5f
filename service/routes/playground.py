"""GET / and /playground/…: the page on which α is tried by hand. Plain files, no build step, no other host.

The page may load nothing but this server's own files, and holds no script or style of its own, so a strict policy
works; were a class name ever to slip through as markup, the browser would still run none of it.
"""

from pathlib import Path, PurePath

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

__all__ = ["add_playground"]

FOLDER = Path(__file__).resolve().parent.parent / "playground"
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PICTURES = {".svg", ".webp"}
TYPES = {  # not left to the machine's own table, which may say otherwise
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}


class _PageFiles(StaticFiles):
    """The folder's files, answered with 304 where the browser has them already."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with the file, its type, and the page's headers."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        suffix = PurePath(path).suffix
        # Kept, but asked about each time, so that no old module meets a new one; a picture is as good tomorrow.
        response.headers["Cache-Control"] = "max-age=86400" if suffix in PICTURES else "no-cache"
        kind = TYPES.get(suffix)
        if response.status_code == 200 and kind:
            response.headers["Content-Type"] = kind
        return response


def add_playground(app: FastAPI) -> None:
    """Serve the page at / and its files under /playground/."""
    page = _PageFiles(directory=FOLDER)
    app.mount("/playground", page, name="playground")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def root(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)
