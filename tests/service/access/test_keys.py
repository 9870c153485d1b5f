"""Keys: making, storing and finding them, and reloading a file that changes."""

import hmac
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service import keys
from service.access.authorization import Access
from service.access.keyring import KeyRing
from service.keys import KeysError, find_key, main, new_key, read_key_file, read_keys
from service.settings import Settings, SettingsError

ROOT = Path(__file__).parents[3]
HEX = "0123456789abcdef" * 4
LINE = f"web:predict,tune:sha256={HEX}"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_has_256_random_bits_and_only_its_hash_is_stored() -> None:
    key, line = new_key("web", ["predict", "tune"])
    assert re.fullmatch(r"lt_[A-Za-z0-9_-]{43}", key)
    assert key[3:] not in line
    assert new_key("web", ["predict"])[0] != key
    found = find_key(read_keys(line), key.encode())
    assert (found and found.name, found and found.scopes) == ("web", {"predict", "tune"})


def test_a_key_with_any_difference_is_not_found() -> None:
    key, line = new_key("web", ["predict"])
    known = read_keys(line)
    wrong = [key[:-1], key + "x", key.swapcase(), key.upper(), f" {key}", "", "lt_", "lt_" + 43 * "A", "ü" * 23]
    assert not [each for each in wrong if find_key(known, each.encode())]


def test_every_key_is_compared_in_constant_time_whatever_its_position(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(keys, "hmac", type("Spied", (), {"compare_digest": staticmethod(compare)}))
    made = [new_key(f"k{i}", ["predict"]) for i in range(5)]
    known = read_keys("\n".join(line for _, line in made))
    for given in (made[0][0], made[4][0], "lt_" + 43 * "x"):
        compared.clear()
        find_key(known, given.encode())
        assert compared == [each.digest for each in known]


def test_blank_lines_comments_and_spaces_are_allowed() -> None:
    text = f"# who may\r\n\r\n  {LINE}  \r\nother : admin , predict : sha256={HEX[::-1].upper()}\n"
    assert [(key.name, sorted(key.scopes)) for key in read_keys(text)] == [
        ("web", ["predict", "tune"]),
        ("other", ["admin", "predict"]),
    ]


SECRET = "lt_" + "S3cr3t-" * 6 + "x"
MALFORMED = {
    "no line": ("web", "is not NAME:SCOPES:sha256=HEX"),
    "a key itself": (SECRET, "is not NAME:SCOPES:sha256=HEX.*a secret key does not belong"),
    "a key as hash": (f"web:predict:{SECRET}", "must end with sha256= and 64"),
    "a key as name": (f"{SECRET}:predict:sha256={HEX}", "needs a name"),
    "a key as scope": (f"web:{SECRET}:sha256={HEX}", "needs one or more of the scopes predict, tune, admin"),
    "no name": (f":predict:sha256={HEX}", "needs a name"),
    "a long name": (f"{'x' * 65}:predict:sha256={HEX}", "needs a name"),
    "no scope": (f"web::sha256={HEX}", "needs one or more of the scopes"),
    "unknown scope": (f"web:predict,root:sha256={HEX}", "needs one or more of the scopes"),
    "trailing comma": (f"web:predict,:sha256={HEX}", "needs one or more of the scopes"),
    "another hash": (f"web:predict:md5={HEX}", "must end with sha256="),
    "short hash": (f"web:predict:sha256={HEX[:-1]}", "64 hexadecimal"),
    "not hexadecimal": (f"web:predict:sha256={HEX[:-1]}g", "64 hexadecimal"),
    "too many parts": (f"{LINE}:x", "is not NAME"),
    "comment behind": (f"{LINE} # mine", "64 hexadecimal"),
    "the same name": (f"{LINE[:-1]}0", "has the name of another key"),
    "the same key": (LINE.replace("web", "two"), "repeats a key that has another name"),
}


@pytest.mark.parametrize(("line", "sentence"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_line_is_named_by_its_number_and_not_repeated(line: str, sentence: str) -> None:
    first = LINE if sentence.startswith(("has", "repeats")) else "# a file"
    with pytest.raises(KeysError, match=f"^FILE: line 2 .*{sentence}") as raised:
        read_keys(f"{first}\n{line}\n", "FILE: ")
    assert not [part for part in (HEX[:20], SECRET[:20], "md5", "root") if part in str(raised.value)]


def test_the_number_of_keys_is_limited() -> None:
    lines = [f"k{i}:predict:sha256={i:064x}" for i in range(1001)]
    assert len(read_keys("\n".join(lines[:1000]))) == 1000
    with pytest.raises(KeysError, match=r"^line 1001 is one key too many"):
        read_keys("\n".join(lines))


def test_a_key_is_added_and_removed_while_the_server_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "longtail.keys")
    clock = Clock()
    file = tmp_path / "keys"
    (old, old_line) = new_key("old", ["predict"])
    (new, new_line) = new_key("new", ["predict"])
    file.write_text(old_line)
    ring = KeyRing((), file, clock)
    file.write_text(f"{new_line}\n# {'-' * 9}")
    clock.now = 0.9
    assert (ring.find(old.encode()) is not None, ring.find(new.encode())) == (True, None)  # not checked yet
    clock.now = 1.0
    assert (ring.find(old.encode()), ring.find(new.encode()) is not None) == (None, True)
    file.write_text("# none")
    clock.now = 2.0
    assert ring.find(new.encode()) is None
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "new",
        "none",
    ]


def test_a_broken_or_missing_file_changes_nothing_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    file = tmp_path / "keys"
    key, line = new_key("web", ["predict"])
    file.write_text(line)
    ring = KeyRing((), file, clock)
    for change in (lambda: file.write_text(f"web:root:sha256={HEX}"), file.unlink):
        change()
        for _ in range(3):
            clock.now += 1
            assert ring.find(key.encode())
    broken, missing = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert f"{file}: line 1 needs one or more of the scopes" in broken
    assert f"{file} cannot be read" in missing
    file.write_text(new_key("web", ["predict"])[1])
    clock.now += 1
    assert ring.find(key.encode()) is None


def test_keys_of_the_settings_and_of_the_file_are_both_valid(tmp_path: Path) -> None:
    (own, own_line) = new_key("own", ["predict"])
    (kept, kept_line) = new_key("kept", ["predict"])
    file = tmp_path / "keys"
    file.write_text(kept_line)
    access = Access(Settings(api_keys=f"{own_line};# a remark", api_keys_file=file))
    for key in (own, kept):
        access.check("predict", [(b"x-api-key", key.encode())])
    file.write_text(own_line)
    with pytest.raises(SettingsError, match=r"\(--api-keys-file\) is refused: .*line 1 has the name of another key"):
        Access(Settings(api_keys=own_line, api_keys_file=file))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "cannot be read: no such file"), ("# nothing\n", "has no key; "), (b"\xff\xfe", "is not UTF-8 text")],
)
def test_a_file_that_cannot_be_used_at_start_is_refused(
    tmp_path: Path, content: str | bytes | None, sentence: str
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=f"LONGTAIL_API_KEYS_FILE.*{sentence}"):
        Access(Settings(api_keys_file=file))


@pytest.mark.parametrize(
    "value", ["", " ; ", "# x", SECRET, f"web:{SECRET}:sha256={HEX}", f"web:predict:sha256={HEX}0"]
)
def test_invalid_keys_in_the_environment_are_refused_and_never_shown(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^LONGTAIL_API_KEYS \(--api-keys\) is refused") as raised:
        Settings.read({"LONGTAIL_API_KEYS": value})
    assert not [part for part in (SECRET[:20], HEX[:20]) if part in f"{raised.value} {raised.value.__cause__}"]
    assert HEX not in repr(Settings(api_keys=LINE))
    assert HEX not in repr(read_keys(LINE))


def test_worker_processes_get_the_keys_of_their_parent(tmp_path: Path) -> None:
    for settings in (Settings(), Settings(api_keys=LINE, api_keys_file=tmp_path / "keys")):
        assert Settings.read(settings.as_environment()) == settings


def test_the_command_prints_the_key_to_stderr_and_the_line_to_stdout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.keys"]
    made = subprocess.run(
        [*command, "web", "--scopes", "predict, tune"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    key = re.findall(r"^    (lt_\S{43})$", made.stderr, re.MULTILINE)
    assert "shown only now" in made.stderr
    assert find_key(read_keys(made.stdout), key[0].encode())
    file = tmp_path / "keys"
    file.write_text(made.stdout)
    checked = subprocess.run([*command, "--check", str(file)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert checked.stdout == "web: predict, tune\n"


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keys").write_text("x")
    codes = [main(["a b"]), main(["web", "--scopes", "all"]), main(["--check", str(tmp_path / "keys")])]
    errors = capsys.readouterr().err.splitlines()
    assert codes == [2, 2, 2]
    assert [error.partition(" needs ")[0] for error in errors[:2]] == ["error: a key"] * 2
    assert "line 1 is not NAME:SCOPES" in errors[2]
    with pytest.raises(SystemExit):
        main([])


@pytest.mark.parametrize("text", [LINE, f"{LINE}\n", f"\r\n{LINE}\r\n", f"# who may\r\n{LINE}"])
def test_a_byte_order_mark_before_the_keys_is_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "keys"
    file.write_text(text, encoding="utf-8-sig", newline="")
    assert [key.name for key in read_key_file(file)] == ["web"]
    assert KeyRing((), file)._keys == read_keys(LINE)
    assert main(["--check", str(file)]) == 0
    assert capsys.readouterr().out == "web: predict, tune\n"
    assert Settings.read({"LONGTAIL_API_KEYS": file.read_text(encoding="utf-8")}).api_keys  # "$(cat keys)"


def test_a_byte_order_mark_alone_is_no_key_and_utf_16_is_refused_with_what_would_work(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"\xef\xbb\xbf")
    assert read_key_file(tmp_path / "keys") == ()
    (tmp_path / "keys").write_text(LINE, encoding="utf-16")
    with pytest.raises(KeysError, match="is not UTF-8 text; save it as UTF-8"):
        read_key_file(tmp_path / "keys")
