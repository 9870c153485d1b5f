"""The form in which the application sees a request: HEAD as the GET that it stands for, and no slash at the end.

`HEAD` asks for the headers of the answer to `GET`; the server leaves out the body. A slash at the end of an address
means the same without it. A redirect would have to name the scheme, host and prefix by which the client reached a
proxy, and many clients follow none. Pages and their files are an exception: links in them depend on the slash.
"""

from starlette.types import Scope

__all__ = ["as_application_sees_it", "method_of"]

_METHOD = "longtail.method"  # the scope key of the method as the client sent it, if it is another
_FILES = ("/docs/", "/playground/")


def as_application_sees_it(scope: Scope) -> Scope:
    """Return a request's scope with GET for HEAD, and its path without the slash at the end.

    >>> seen = as_application_sees_it({"method": "HEAD", "path": "/v1/models/", "raw_path": b"/v1/models/"})
    >>> seen["method"], seen["path"], method_of(seen)
    ('GET', '/v1/models', 'HEAD')
    """
    if scope["method"] == "HEAD":
        scope = {**scope, "method": "GET", _METHOD: "HEAD"}  # the server keeps the original, and so sends no body
    path = scope["path"]
    if path[-1:] == "/" and len(path) > 1 and not path.startswith(_FILES) and scope["raw_path"].endswith(b"/"):
        scope["path"] = path[:-1]
    return scope


def method_of(scope: Scope) -> str:
    """Return the method as the client sent it."""
    method: str = scope.get(_METHOD, scope["method"])
    return method
