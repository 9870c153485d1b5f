"""Help and usage errors of the command line appear before torch or anything else heavy is loaded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from training import __main__ as cli
from training.cli.command_line import command_line

ROOT = Path(__file__).parents[3]
WITHOUT_TORCH = """
import sys
from training.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    loaded = {"torch", "torchvision", "onnxruntime", "matplotlib", "timm"} & set(sys.modules)
    sys.exit(f"loaded {loaded}" if loaded else stop.code)
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [("--help", 0), ("train --help", 0), ("import-official --help", 0), ("", 2), ("train cifar10-lt --seed x", 2)],
)
def test_help_and_usage_errors_load_nothing_heavy(words: str, code: int) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, *words.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == code, done.stderr
    assert "usage: python -m training" in (done.stderr if code else done.stdout)


@pytest.mark.parametrize("command", ["fit", "train", "compare", "export", "import-official", "evaluate", "tune"])
def test_each_command_is_listed_and_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"\n    {command}" in command_line().format_help()
    with pytest.raises(SystemExit):
        command_line().parse_args([command, "--help"])
    assert f"usage: python -m training {command}" in capsys.readouterr().out


def test_only_the_first_process_prints_that_it_was_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert stopped_while_torch_is_loaded(monkeypatch) == 130
    assert capsys.readouterr().err == ""


def test_ctrl_c_while_torch_is_loaded_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stopped_while_torch_is_loaded(monkeypatch) == 130
    assert capsys.readouterr().err == "stopped\n"


def stopped_while_torch_is_loaded(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the exit code."""

    class Stopping:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "training.cli.run_command":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "training.cli.run_command", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Stopping(), *sys.meta_path])
    return cli.main(["compare", "run"])
