"""Files of a page: their types, a policy that binds the browser, and no second sending of what it has already."""

from pathlib import Path, PurePath

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

__all__ = ["PageFiles"]

PICTURES = {".svg", ".webp"}
TYPES = {  # not left to the machine's own table, which may say otherwise
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}


class PageFiles(StaticFiles):
    """A folder's files, answered with 304 where the browser has them already.

    Args:
        folder: of the files.
        policy: Content-Security-Policy of all of them.
        package: name and folder of an installed package whose files come beside them.

    """

    def __init__(self, folder: Path, policy: str, package: tuple[str, str] | None = None) -> None:
        super().__init__(directory=folder, packages=[package] if package else None)
        self.policy = policy

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with the file, its type, and the page's policy."""
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = self.policy
        suffix = PurePath(path).suffix
        # Kept, but asked about each time, so that no old module meets a new one; a picture is as good tomorrow.
        response.headers["Cache-Control"] = "max-age=86400" if suffix in PICTURES else "no-cache"
        kind = TYPES.get(suffix)
        if response.status_code == 200 and kind:
            response.headers["Content-Type"] = kind
        return response
