"""What a protocol request is about: a model and perhaps its version, a repository, or an unsupported extension."""

import re
from collections.abc import Mapping
from typing import Any

from service.errors import NotSupportedError, UnknownVersionError
from service.inference.registry import Registry, ServedModel
from service.openinference.parameters import known_fields, typed

__all__ = [
    "check_unload_parameters", "find_model", "missing_extension", "refuse_load_parameters", "refuse_repository_name",
]  # fmt: skip

MAX_VERSION_DIGITS = 9
_MODEL = r"/v2/models/[^/]+(?:/versions/[^/]+)?"
_EXTENSIONS = {  # paths of the extensions that this server does not have -> their names
    r"/v2/systemsharedmemory(?:/.*)?": "system_shared_memory",
    r"/v2/cudasharedmemory(?:/.*)?": "cuda_shared_memory",
    rf"(?:/v2|{_MODEL})/trace/setting": "trace",
    r"/v2/logging": "logging",
    rf"{_MODEL}/generate(?:_stream)?": "generate",
}


def find_model(registry: Registry, model: str, version: str | None = None) -> ServedModel:
    """Return the model that a path names, in the version that it names or else in the highest version.

    Raises:
        UnknownModelError: there is no such model in service.
        UnknownVersionError: there is no such version of it in service.

    """
    if version is None:
        return registry.get(model)
    if not (version.isascii() and version.isdigit() and len(version) <= MAX_VERSION_DIGITS):
        raise UnknownVersionError(f"{version[:64]!r} is not a version of {model[:64]!r}; versions are 1, 2, 3, ...")
    return registry.get(model, int(version))


def missing_extension(path: str) -> str | None:
    """Return Triton's name of the unsupported extension that a path belongs to; None for any other path.

    >>> missing_extension("/v2/models/x/versions/1/generate_stream"), missing_extension("/v2/nothing")
    ('generate', None)
    """
    return next((name for pattern, name in _EXTENSIONS.items() if re.fullmatch(pattern, path)), None)


def refuse_load_parameters(parameters: Any) -> None:
    """Refuse the parameters of a load request, since a model is always loaded from the models folder unchanged.

    Raises:
        NotSupportedError: there are parameters, such as `config` or files.

    """
    if parameters:
        raise NotSupportedError("models are loaded unchanged from the models folder; send neither a config nor files")


def check_unload_parameters(parameters: Mapping[str, Any]) -> None:
    """Check the parameters of an unload request. Models do not depend on each other, so none of them has an effect.

    Raises:
        RequestError: `unload_dependents` is not a boolean.
        ProtocolFieldError: a parameter is unknown.

    """
    known_fields(parameters, ("unload_dependents",), "the request", "repository")
    typed(parameters, "unload_dependents", bool, "true or false")


def refuse_repository_name(name: str) -> None:
    """Refuse a request about one of several repositories, as gRPC's messages can name it.

    Raises:
        NotSupportedError: a repository is named.

    """
    if name:
        raise NotSupportedError(f"repository_name {name[:64]!r}: there is one repository; leave its name out")
