"""argparse refuses wrong numbers with the option's name, before any work is done."""

import pytest

from training.__main__ import main
from training.argument_types import MAX_SEED, pixels, positive_int, seed, threads

FIT = ["fit", "--data", "nowhere", "--backbone", "resnet18", "--out", "models/x"]
OFFICIAL = ["import-official", "nowhere.pth", "--classes", "nowhere", "--out", "models/x"]


def test_whole_numbers_are_accepted() -> None:
    assert [positive_int("224"), pixels("8192"), seed("0"), seed(str(MAX_SEED)), threads("8")] == [
        224,
        8192,
        0,
        MAX_SEED,
        8,
    ]


@pytest.mark.parametrize(
    "words",
    [
        [*FIT, "--threads", "-1"],
        [*FIT, "--threads", "0"],
        [*FIT, "--threads", "100000"],
        [*FIT, "--size", "0"],
        [*FIT, "--size", "-5"],
        [*FIT, "--size", "100000"],
        [*FIT, "--resize", "1e3"],
        [*FIT, "--epochs", "0"],
        [*FIT, "--num-heads", "0"],
        [*FIT, "--seed", "99999999999999999999"],
        [*FIT, "--seed", "-1"],
        [*FIT, "--size", "9" * 5000],
        [*OFFICIAL, "--size", "0"],
        [*OFFICIAL, "--resize", "-1"],
        [*OFFICIAL, "--num-heads", "0"],
    ],
)
def test_other_values_are_refused_with_the_options_name(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {words[-2]}: {words[-1][:40]!r} is not a whole number from " in said
