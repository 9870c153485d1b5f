"""What the pages hold: code blocks, in order, and what the service answers beside what they show."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MOMENTARY = {"since", "time", "created", "finished", "done", "state", "result"}  # no two answers have the same
PROGRAM = re.compile(r"models|service(\.\w+)?|training")
ENDS = {";", "|", ">", ">>", "&&"}
HEX = re.compile(r"[0-9a-f]{32}")


class Block(NamedTuple):
    """A code block, and the text up to the next one."""

    language: str
    text: str
    after: str


def blocks(page: str) -> list[Block]:
    """The page's code blocks."""
    text = (ROOT / page).read_text()
    found = list(FENCE.finditer(text))
    starts = [each.start() for each in found] + [len(text)]
    return [Block(each[1], each[2], text[each.end() : starts[number + 1]]) for number, each in enumerate(found)]


def calls(page: str) -> Iterator[tuple[str, list[str]]]:
    """Every `python -m PROGRAM` of the page's shell blocks: the program and its arguments."""
    for block in blocks(page):
        if block.language in {"sh", "bash"}:
            lines = block.text.replace("\\\n", " ").replace("\n", "\n; ")
            splitter = shlex.shlex(lines, punctuation_chars=True, posix=True)
            splitter.whitespace_split = True
            words = list(splitter)
            for place, word in enumerate(words):
                if word == "-m" and PROGRAM.fullmatch(words[place + 1]):
                    arguments = itertools.takewhile(lambda each: each not in ENDS, words[place + 2 :])
                    yield words[place + 1], list(arguments)


def assert_alike(shown: Any, answered: Any, ids: dict[str, str], within: float = 2e-3, where: str = "answer") -> None:
    """Compare what a page shows with an answer, and learn which id stands for which.

    Numbers may be shortened on a page; times and ids differ from run to run. `within` is the largest difference of a
    number.
    """
    if isinstance(shown, dict):
        assert isinstance(answered, dict), where
        assert shown.keys() == answered.keys(), where
        for key in shown:
            if key not in MOMENTARY:
                assert_alike(shown[key], answered[key], ids, within, f"{where}.{key}")
    elif isinstance(shown, list):
        assert isinstance(answered, list), where
        assert len(shown) == len(answered), where
        for index, (left, right) in enumerate(zip(shown, answered, strict=True)):
            assert_alike(left, right, ids, within, f"{where}[{index}]")
    elif isinstance(shown, float):
        assert answered == pytest.approx(shown, abs=within), where
    elif isinstance(shown, str) and HEX.fullmatch(shown):
        assert HEX.fullmatch(answered), where
        ids[shown] = answered
    else:
        assert shown == answered, where
