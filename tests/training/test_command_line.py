"""The command line is there at once, and says its mistakes before anything heavy is loaded."""

import subprocess
import sys
from typing import Any

import pytest

from training import __main__ as cli
from training.command_line import command_line

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
    [
        (["--help"], 0),
        *[([command, "--help"], 0) for command in ("fit", "train", "compare", "export", "evaluate", "tune")],
        (["import-official", "--help"], 0),
        ([], 2),
        (["train", "cifar10-lt", "--seed", "x"], 2),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_help_and_mistakes_wait_for_nothing_heavy(words: list[str], code: int) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "usage: python -m training" in (done.stderr if code else done.stdout)


def test_each_command_is_listed_with_what_it_does() -> None:
    listed = command_line().format_help()
    for command in ("fit", "train", "compare", "export", "import-official", "evaluate", "tune"):
        assert f"\n    {command}" in listed


def test_ctrl_c_while_torch_is_loaded_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopping:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "training.run_command":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "training.run_command", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Stopping(), *sys.meta_path])
    assert cli.main(["compare", "run"]) == 130
    assert capsys.readouterr().err == "stopped\n"
