"""What a request names: a model and perhaps its version, or something of the protocol that is not here."""

import re
from typing import Any

from service.errors import NotSupportedError, UnknownVersionError
from service.inference.registry import Registry, ServedModel

__all__ = ["find_model", "missing_extension", "refuse_load_parameters"]

MAX_VERSION_DIGITS = 9  # digits
_MODEL = r"/v2/models/[^/]+(?:/versions/[^/]+)?"
_EXTENSIONS = {  # what clients can ask other servers for
    r"/v2/systemsharedmemory(?:/.*)?": "system_shared_memory",
    r"/v2/cudasharedmemory(?:/.*)?": "cuda_shared_memory",
    rf"(?:/v2|{_MODEL})/trace/setting": "trace",
    r"/v2/logging": "logging",
    rf"{_MODEL}/generate(?:_stream)?": "generate",
}


def find_model(registry: Registry, model: str, version: str | None = None) -> ServedModel:
    """Return the model in service that a path names, in the version it names, or the highest.

    Raises:
        UnknownModelError, UnknownVersionError: there is none.

    """
    if version is None:
        return registry.get(model)
    if not (version.isascii() and version.isdigit() and len(version) <= MAX_VERSION_DIGITS):
        raise UnknownVersionError(f"{version[:64]!r} is no version of {model[:64]!r}; a version is 1, 2, 3, ...")
    return registry.get(model, int(version))


def missing_extension(path: str) -> str | None:
    """Return Triton's name of the extension that a path belongs to and that is not here; None for other paths.

    >>> missing_extension("/v2/models/x/versions/1/generate_stream"), missing_extension("/v2/nothing")
    ('generate', None)
    """
    return next((name for pattern, name in _EXTENSIONS.items() if re.fullmatch(pattern, path)), None)


def refuse_load_parameters(parameters: Any) -> None:
    """Refuse to load a model in another way than it lies there.

    Raises:
        NotSupportedError: there are parameters: `config`, or files.

    """
    if parameters:
        raise NotSupportedError(
            "models are loaded as they lie in the models folder; neither config nor files may be given"
        )
