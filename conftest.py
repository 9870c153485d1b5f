"""Leave out training's tests and examples if torch is not installed, and say so in the report."""

from importlib.util import find_spec

HAS_TORCH = find_spec("torch") is not None
pytest_plugins = ["tests.service.storage.databases"]
collect_ignore_glob = [
    "service/storage/migrations/env.py",  # Alembic's; importing it runs migrations
    *([] if HAS_TORCH else ["training/*", "tests/training", "tests/training/*"]),
]


def pytest_report_header() -> str:
    """Report in the first lines whether training is tested."""
    if HAS_TORCH:
        return "training: tested"
    return "training: NOT tested, torch is not installed (make test-training installs it and tests training)"


def pytest_terminal_summary(terminalreporter: object) -> None:
    """Repeat at the end that training is not tested."""
    if not HAS_TORCH:
        terminalreporter.write_line(pytest_report_header())  # type: ignore[attr-defined]
