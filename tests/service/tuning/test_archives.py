"""Archives of labelled pictures: their classes and labels, and the harm that a hostile archive cannot do."""

import contextlib
import io
import struct
import tracemalloc
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.class_names import ClassIndices
from models.errors import UnreadableImageError
from service.errors import ArchiveError, ServiceError, TooManyFilesError
from service.tuning.archives import LabelledArchive, open_archive
from tests.zips import zip_of_bytes

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
CLASSES = {"cat": 0, "dog": 1}


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def opened(data: bytes, **limits: int) -> LabelledArchive:
    return open_archive(io.BytesIO(data), CLASSES, **({"max_files": 100, "max_image_bytes": 1000} | limits))


@pytest.mark.parametrize("root", ["", "set/", "my/data/set/"])
def test_the_folder_of_a_picture_is_its_class(root: str) -> None:
    archive = opened(zipped({f"{root}cat/1.png": b"a", f"{root}dog/2.JPG": b"b", f"{root}cat/3.webp": b"c"}))
    assert archive.labels == (0, 1, 0)
    assert [archive.read(index) for index in range(3)] == [b"a", b"b", b"c"]


def test_if_there_is_a_test_folder_only_its_pictures_count() -> None:
    archive = opened(zipped({"train/cat/1.png": b"a", "test/dog/1.png": b"b", "train/cow/1.png": b"c"}))
    assert (archive.name(0), archive.labels) == ("test/dog/1.png", (1,))
    assert archive.note == "the test split of the archive; its train split (2 pictures) is not used"


def test_files_that_are_not_pictures_are_ignored() -> None:
    extra = {"README.txt": b"", "__MACOSX/cat/1.png": b"", "cat/.hidden.png": b"", "cat/notes.csv": b"", "empty/": b""}
    archive = opened(zipped({"cat/1.png": b"a", **extra}))
    assert (len(archive), archive.name(0)) == (1, "cat/1.png")


@pytest.mark.parametrize("split", ["val", "valid", "validation"])
def test_without_a_test_folder_the_val_folder_counts_and_never_train(split: str) -> None:
    archive = opened(zipped({"set/train/cat/1.png": b"a", "set/train/dog/1.png": b"b", f"set/{split}/dog/2.png": b"c"}))
    assert (archive.name(0), archive.labels) == (f"set/{split}/dog/2.png", (1,))
    assert archive.note == "the val split of the archive; its train split (2 pictures) is not used"


def test_what_an_archive_holds_besides_is_counted_in_the_note() -> None:
    extra = ("cat/2.bmp", "cat/.3.png", "cat/._1.png", "no_label/4.png", "__MACOSX/cat/5.png", "2026/dog/6.png")
    archive = opened(zipped({"cat/1.png": b"a"} | dict.fromkeys(extra, b"x")))
    assert archive.labels == (0, 1)
    assert archive.note == (
        "all 2 pictures of the archive; ignored in the archive, not JPEG, PNG or WebP by suffix: 1 .bmp, such as "
        "cat/2.bmp; ignored in the archive, hidden by a dot before the name: 1 picture, cat/.3.png; left out 1 picture "
        "without a label: 1 in no_label; taken together from 2 folders: the top folder (1), 2026 (1)"
    )


def test_a_link_in_an_archive_is_refused() -> None:
    link = zipfile.ZipInfo("dog")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    file = io.BytesIO(zipped({"cat/1.png": b"a"}))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "../store/dog")
    with pytest.raises(ArchiveError, match="dog: a link, which is not followed in an archive; pack the files"):
        opened(file.getvalue())


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["train/cat/1.png"], "all pictures lie in a train folder, such as train/cat, and alpha must not be chosen on"),
        (["Test/cat/1.png", "train/cat/2.png"], "Test differs from the split 'test' only in case; rename it to 'test'"),
        (["test_images/cat/1.png", "train_images/cat/2.png"], "images' looks like the t.* split; rename it to 't"),
        (["test/cat/1.png", "fox/2.png"], "the pictures in fox lie in no split, but others lie in test"),
        (["Cat/1.png"], "'Cat' differs from 'cat' only in case: rename it"),
        (["dog/cat/1.png"], "lie below two classes, 'dog' and 'cat'"),
    ],
)
def test_an_archive_whose_parts_cannot_be_told_is_refused(files: list[str], sentence: str) -> None:
    with pytest.raises(ArchiveError, match=sentence):
        opened(zipped(dict.fromkeys(files, b"")))


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "no pictures found; put them into class folders"),
        ({"notes.txt": b""}, "no pictures found; .*; ignored in the archive, not JPEG, PNG or WebP by suffix: 1 .txt"),
        ({"1.png": b""}, "1.png is not in a class folder"),
        ({"cow/1.png": b""}, "does not know 1 of these classes: cow; it knows cat, dog.* as in cow/1.png"),
        ({"../cat/1.png": b""}, "leads out of the archive"),
        ({"/cat/1.png": b""}, "leads out of the archive"),
        ({"cat\\..\\..\\1.png": b""}, "leads out of the archive"),
    ],
)
def test_an_unusable_archive_gets_a_message(files: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(ArchiveError, match=sentence):
        opened(zipped(files))


@pytest.mark.parametrize("held", ["F\u00fcchse", "Fu\u0308chse"])
@pytest.mark.parametrize("packed", ["F\u00fcchse", "Fu\u0308chse", "F\u00fcchse "])
def test_folders_of_a_finder_archive_are_the_classes_that_they_name(held: str, packed: str) -> None:
    """The Finder writes UTF-8 without the flag that says so."""
    data = zip_of_bytes({f"{packed}/\u00e9.png".encode(): b"a", b"5.0/1.png": b"b"})
    archive = open_archive(io.BytesIO(data), ClassIndices([held, "5"]), max_files=9, max_image_bytes=9)
    assert (archive.labels, archive.name(0)) == ((0, 1), f"{packed}/\u00e9.png")
    assert [archive.read(0), archive.read(1)] == [b"a", b"b"]


@pytest.mark.parametrize("encoding", ["cp850", "latin1", "cp1252", "mac-roman"])
def test_an_archive_in_another_encoding_asks_for_it(encoding: str) -> None:
    data = zip_of_bytes({"F\u00fcchse/1.png".encode(encoding): b"a"})
    classes = ClassIndices(["F\u00fcchse", "cat"])
    with pytest.raises(ArchiveError, match=r"is not UTF-8, .*; send the encoding in a form field `encoding`"):
        open_archive(io.BytesIO(data), classes, max_files=9, max_image_bytes=9)
    archive = open_archive(io.BytesIO(data), classes, max_files=9, max_image_bytes=9, encoding=encoding)
    assert (archive.labels, archive.name(0), archive.read(0)) == ((0,), "F\u00fcchse/1.png", b"a")


def test_a_class_that_an_earlier_version_misread_is_named() -> None:
    data = zip_of_bytes({"F\u00fcchse/1.png".encode(): b"a"})
    with pytest.raises(ArchiveError, match="The model knows it as 'F├╝chse', as an earlier version read the names"):
        open_archive(io.BytesIO(data), ClassIndices(["F├╝chse", "cat"]), max_files=9, max_image_bytes=9)


@pytest.mark.parametrize("encoding", ["klingon", "utf-16", "rot13", ""])
def test_an_encoding_that_is_none_is_refused(encoding: str) -> None:
    with pytest.raises(ArchiveError, match="is not an encoding of file names"):
        open_archive(io.BytesIO(zipped({"cat/1.png": b""})), CLASSES, max_files=9, max_image_bytes=9, encoding=encoding)


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all", b"PK\x05\x06" + bytes(17), b"PK\x05\x06" * 100])
def test_a_file_that_is_not_a_zip_gets_a_message(data: bytes) -> None:
    with pytest.raises(ArchiveError, match="not a readable zip"):
        opened(data)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(ArchiveError, match="more than 100 times its size"):
        opened(zipped({"cat/1.png": bytes(10_000_000)}, zipfile.ZIP_DEFLATED), max_image_bytes=10**9)


def test_pictures_that_share_their_bytes_are_refused() -> None:
    data = bytearray(zipped({f"cat/{number}.png": bytes(range(256)) for number in range(9)}))
    entry = -1
    while (entry := data.find(b"PK\x01\x02", entry + 1)) >= 0:
        struct.pack_into("<LL", data, entry + 20, 2000, 2000)  # each takes in its neighbours
    with pytest.raises(ArchiveError, match="several share their bytes"):
        opened(bytes(data))


def test_a_picture_that_unpacks_to_more_than_is_allowed_is_cut_off() -> None:
    archive = opened(zipped({"cat/1.png": bytes(1001), "dog/1.png": bytes(1000)}))
    with pytest.raises(UnreadableImageError, match=r"larger than 0\.001 MB"):
        archive.read(0)
    assert len(archive.read(1)) == 1000


def test_more_files_than_allowed_are_refused() -> None:
    with pytest.raises(TooManyFilesError, match="more than 100 files"):
        opened(zipped({f"cat/{n}.png": b"" for n in range(101)}))


def test_a_table_of_contents_that_lies_about_its_size_costs_no_memory() -> None:
    data = bytearray(zipped({f"cat/{'x' * 200}{n}.png": b"" for n in range(5_000)}))
    end = data.rfind(b"PK\x05\x06")
    struct.pack_into("<HH", data, end + 8, 5, 5)  # "five entries"
    tracemalloc.start()
    with pytest.raises(TooManyFilesError):
        opened(bytes(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(data)  # the bytes themselves, not 20,000 parsed entries


def test_a_large_zip64_table_of_contents_is_refused_at_any_position() -> None:
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**9, 10**9, 10**12, 0)
    for announced in (0, 5, 2**63):
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, announced, 1)
        end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        with pytest.raises(TooManyFilesError):
            opened(record + locator + end)


@pytest.mark.parametrize(
    "name", [".", "..", "./", ".\\", "/", "\\", " ", "\x00", "cat/", "cat/.png", "cat/x" * 2000 + ".png"]
)
def test_a_strange_name_is_ignored_or_refused_with_a_message(name: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("cat/1.png", b"a")
        entry = zipfile.ZipInfo("x")
        entry.filename = name
        archive.writestr(entry, b"x")
    with contextlib.suppress(ArchiveError):
        assert opened(file.getvalue()).labels[0] == 0


def test_two_files_of_one_name_are_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("cat/1.png", b"AAA")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("cat/1.png", b"BBB")
    with pytest.raises(ArchiveError, match="two files in the archive have this name"):
        opened(file.getvalue())


def test_an_entry_with_a_position_beyond_the_file_is_unreadable() -> None:
    data = bytearray(zipped({"cat/1.png": b"abc"}))
    central = data.find(b"PK\x01\x02")
    name_length = len("cat/1.png")
    extra = struct.pack("<HHQ", 1, 8, 2**63)  # zip64: the header's offset
    struct.pack_into("<H", data, central + 30, len(extra))
    struct.pack_into("<L", data, central + 42, 0xFFFFFFFF)
    data[central + 46 + name_length : central + 46 + name_length] = extra
    end = data.rfind(b"PK\x05\x06")
    struct.pack_into("<L", data, end + 12, struct.unpack_from("<L", data, end + 12)[0] + len(extra))
    with pytest.raises(UnreadableImageError, match="cannot be unpacked"):
        opened(bytes(data)).read(0)


def damaged(kind: str) -> bytes:
    data = bytearray(zipped({"cat/1.png": b"0123456789" * 20}, zipfile.ZIP_DEFLATED))
    local = data.find(b"PK\x03\x04")
    central = data.find(b"PK\x01\x02")
    match kind:
        case "crc":
            data[central + 16] ^= 0xFF
        case "stream":
            data[local + 30 + len("cat/1.png")] ^= 0xFF
        case "encrypted":
            data[local + 6] |= 1
            data[central + 8] |= 1
        case "method":
            struct.pack_into("<H", data, local + 8, 99)
            struct.pack_into("<H", data, central + 10, 99)
    return bytes(data)


@pytest.mark.parametrize("kind", ["crc", "stream", "encrypted", "method"])
def test_a_damaged_entry_is_unreadable_and_nothing_worse(kind: str) -> None:
    with pytest.raises(UnreadableImageError, match="cannot be unpacked"):
        opened(damaged(kind)).read(0)


@pytest.mark.parametrize("method", METHODS[2:])
def test_methods_with_unbounded_memory_are_not_unpacked(method: int) -> None:
    with pytest.raises(UnreadableImageError, match="other than store and deflate"):
        opened(zipped({"cat/1.png": b"a"}, method)).read(0)


@settings(max_examples=300)
@given(
    st.binary(max_size=200),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    st.sampled_from(METHODS),
)
def test_any_bytes_are_an_archive_or_get_a_message(tail: bytes, flips: list[Any], compression: int) -> None:
    data = bytearray(zipped({"cat/1.png": b"abc" * 50, "dog/2.png": b"x"}, compression) + tail)
    for position, value in flips:
        data[position % len(data)] = value
    try:
        archive = opened(bytes(data))
    except ServiceError:
        return
    for index in range(len(archive)):
        with contextlib.suppress(UnreadableImageError):
            assert len(archive.read(index)) <= 1000
