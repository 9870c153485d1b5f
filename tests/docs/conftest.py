"""The running service of the service's tests."""

from tests.service.conftest import anyio_backend, running

__all__ = ["anyio_backend", "running"]
