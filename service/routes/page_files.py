"""Static files of an HTML page, with their media types, a content security policy and caching headers."""

from pathlib import Path, PurePath

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from typing_extensions import override

__all__ = ["PageFiles"]

PICTURES = {".svg", ".webp"}
TYPES = {  # the operating system's own table may differ
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}


class PageFiles(StaticFiles):
    """The files of a folder. A file that the browser already has is answered with 304.

    Args:
        folder: the folder with the files.
        policy: the `Content-Security-Policy` header of each answer.
        package: name and folder of an installed package with more files; None if there is none.

    """

    def __init__(self, folder: Path, policy: str, package: tuple[str, str] | None = None) -> None:
        super().__init__(directory=folder, packages=[package] if package else None)
        self.policy = policy

    @override
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = self.policy
        suffix = PurePath(path).suffix
        # The browser asks again before it uses a cached script, so that it never mixes old and new modules. Pictures
        # hardly ever change, so it may use them for a day.
        response.headers["Cache-Control"] = "max-age=86400" if suffix in PICTURES else "no-cache"
        kind = TYPES.get(suffix)
        if response.status_code == 200 and kind:
            response.headers["Content-Type"] = kind
        return response
