"""Training's tests and examples need torch, which serving does not install; where it is absent, say so aloud."""

from importlib.util import find_spec

HAS_TORCH = find_spec("torch") is not None
pytest_plugins = ["tests.service.storage.databases"]
collect_ignore_glob = [
    "service/storage/migrations/env.py",  # Alembic's: it acts when it is imported
    *([] if HAS_TORCH else ["training/*", "tests/training", "tests/training/*"]),
]


def pytest_report_header() -> str:
    """Say in the first lines whether training is tested."""
    if HAS_TORCH:
        return "training: tested"
    return "training: NOT tested, torch is not installed (make test-training installs it and tests training)"


def pytest_terminal_summary(terminalreporter: object) -> None:
    """Say it again at the end, where a reader looks."""
    if not HAS_TORCH:
        terminalreporter.write_line(pytest_report_header())  # type: ignore[attr-defined]
