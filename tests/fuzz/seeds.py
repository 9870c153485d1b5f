"""Valid inputs, ordinary and unusual, that the fuzzer starts from, and words that each parser knows."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable
from urllib.parse import quote

import numpy as np
import orjson
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.openinference.requests import JSON_LENGTH_HEADER
from tests.fuzz.mutate import with_png_checksums

__all__ = ["archives", "forms", "infer_requests", "json_requests", "pictures", "queries", "request"]

PICTURE_WORDS = (
    b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xdb", b"\xff\xe1",
    b"\xff\xe2", b"\xff\xdd", b"\xff\xee", b"Exif\0\0", b"MM\0*", b"II*\0", b"MPF\0", b"ICC_PROFILE\0", b"Adobe\0",
    b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"iCCP", b"eXIf", b"zTXt", b"iTXt",
    b"tEXt", b"gAMA", b"cHRM", b"sBIT", b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF",
    b"EXIF", b"XMP ", b"ICCP", b"Raw profile type exif", b'tiff:Orientation="6"', b"\x01\x12\0\x03\0\0\0\x01",
)  # fmt: skip
REQUEST_WORDS = (
    b"\n", b"\r\n", b": ", b"gzip", b"deflate", b"identity", b"charset=utf-7", b"charset=undefined", b"charset=a\0b",
    b"charset=idna", b"charset=unicode_escape", b"boundary=", b"--b", b"--b--", b'name="files"', b'name="archive"',
    b"filename=", b"filename*=utf-8''%ff", b"Content-Disposition: form-data; ", b"Content-Transfer-Encoding: base64",
    b"Content-Type: ", b"multipart/form-data; boundary=b", b"application/x-www-form-urlencoded", b"application/json",
    b"image/png", b"alpha=", b"top_k=", b"prior=", b"since=", b"&", b"=", b"%00", b"%ff", b"%ed%a0%80", b"+", b";",
    b"/", b"..", b"balanced", b"uniform", b"estimated", b"inf", b"nan", b"binary_data_size", b"binary_data",
    b"classification", b"parameters", b"timeout", b"shape", b"datatype", b"BYTES", b"FP32", b"UINT8", b"encoded",
    b"images", b"alpha", b"shared_memory_region", b"priority", b"[" * 2000, b'{"a":' * 500, b"\xed\xa0\x80",
    b"\\ud800", b"\\u0000", b",", b'"', b"-", b"1e-400", b"2026-11-23T12:00:00Z", b"9999-12-31T23:59:59-23:59",
    b"0001-01-01T00:00:00+23:59",
)  # fmt: skip
ARCHIVE_WORDS = (
    b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08", b"\0\0\x08\0",
    b"\0\0\x0e\0", b"class 0/", b"class 1/", b"../", b"/", b"\\", b"test/", b"train/", b".png", b"\x01\0\x10\0",
    b"up\x09\0", b"\0", b"\xff",
)  # fmt: skip


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _noise(mode: str, width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + bytes(4)


def pictures() -> list[bytes]:
    """JPEG, PNG and WebP files of many kinds: modes, progressive, interlaced, animated, with metadata, and bombs."""
    rgb = _noise("RGB", 24, 18)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "text"
    extra = {"exif": exif.tobytes(), "icc_profile": bytes(200)}
    text = PngInfo()
    text.add_text("a", "b" * 50)
    text.add_text("c", "d" * 5000, zip=True)
    text.add_itxt("Raw profile type exif", "exif\n 4\n45786966", zip=True)
    files = [_saved(_noise(mode, 17, 9), "JPEG", **extra) for mode in ("L", "RGB", "CMYK")]
    files += [_saved(_noise("RGB", 300, 260), "JPEG"), _saved(rgb, "JPEG", progressive=True, restart_marker_blocks=1)]
    files += [_saved(rgb, "MPO", save_all=True, append_images=[rgb])]
    files += [_saved(_noise(mode, 9, 7), "PNG", **extra) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    files += [_saved(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100), "PNG")]
    files += [_saved(rgb, "PNG", pnginfo=text), _saved(rgb.quantize(4), "PNG", transparency=b"\0\x80\xff\0")]
    files += [_saved(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)])]
    files += [_saved(rgb, "WEBP", lossless=lossless, **extra) for lossless in (True, False)]
    files += [
        _saved(_noise("RGBA", 12, 12), "WEBP"),
        _saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
    ]
    return [*files, *_picture_bombs()]


def _picture_bombs() -> Iterable[bytes]:
    """Small files that declare, or expand to, a huge size."""
    head = b"\x89PNG\r\n\x1a\n"
    end = _chunk(b"IEND", b"")
    lines = zlib.compress(bytes(2_000_000))
    for width, height, depth in ((60_000, 60_000, 8), (1 << 31, 1, 8), (900, 900, 16)):
        header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 1))
        yield with_png_checksums(head + header + _chunk(b"IDAT", lines) + end)
    small = _chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    bomb = zlib.compress(bytes(5_000_000))
    for kind, data in ((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")):
        yield with_png_checksums(head + small + _chunk(kind, data + bomb) + _chunk(b"IDAT", lines) + end)


def request(target: str, body: bytes = b"", **headers: object) -> bytes:
    """A request in the fuzzer's own format: METHOD TARGET, headers, an empty line, the body."""
    lines = [target, *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\n".join(lines).encode() + b"\n\n" + body


def _part(disposition: str, data: bytes, *headers: str) -> bytes:
    lines = ("--b", f"Content-Disposition: form-data; {disposition}", *headers, "", "")
    return "\r\n".join(lines).encode() + data + b"\r\n"


def forms() -> list[bytes]:
    """Multipart forms: pictures to classify, an archive to tune on, and odd ones."""
    picture = _saved(_noise("RGB", 8, 8), "PNG")
    one = _part('name="files"; filename="a.png"', picture, "Content-Type: image/png")
    archive = _part('name="archive"; filename="a.zip"', archives()[0], "Content-Type: application/zip")
    fields = b"".join(
        _part(f'name="{name}"', text)
        for name, text in (
            ("objective", b"balanced"),
            ("constraint", b"overall >= 0.1"),
            ("low", b"-2"),
            ("who", b"me"),
        )
    )
    kind = {"Content_Type": "multipart/form-data; boundary=b"}
    paths = ("POST /v1/models/tiny/classify?alpha=0&alpha=balanced", "POST /v1/models/tiny/alpha-path")
    made = [request(path, body, **kind) for path in paths for body in (one + b"--b--\r\n", one * 3 + b"--b--\r\n")]
    made += [request("POST /v1/models/tiny/alpha/tune?wait=0", archive + fields + b"--b--\r\n", **kind)]
    made += [request(paths[0], one + b"--b--", Content_Type=f"multipart/form-data; charset={name}; boundary=b")
             for name in ("utf-8", "utf-7", "iso-8859-1")]  # fmt: skip
    return [*made, request(paths[0], picture, Content_Type="image/png")]


def infer_requests() -> list[bytes]:
    """Requests of the Open Inference Protocol: JSON, binary tensors, compressed bodies, raw pictures, and bombs."""
    path = "POST /v2/models/tiny/infer"
    picture = _saved(_noise("RGB", 8, 8), "PNG")
    element = struct.pack("<I", len(picture)) + picture
    encoded = {"name": "encoded", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(element)}}
    alpha = {"name": "alpha", "datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}}
    pixels = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [7] * 192}
    top = {"name": "probabilities", "parameters": {"classification": 2, "binary_data": False}}
    asked = {"id": "1", "outputs": [top, {"name": "logits"}], "parameters": {"binary_data_output": True, "timeout": 0}}
    whole = orjson.dumps({"inputs": [encoded, alpha], **asked})
    nested = orjson.dumps({"inputs": [pixels | {"data": [[[[1, 2, 3]] * 8] * 8]}], "parameters": {"alpha": "tail"}})
    binary = whole + element + struct.pack("<f", 1.5)
    made = [
        request(path, binary, **{JSON_LENGTH_HEADER: len(whole)}),
        request(path, nested),
        request(path, picture, **{JSON_LENGTH_HEADER: 0}),
    ]
    made += [request(path, orjson.dumps({"inputs": [pixels], "parameters": {"prior": "uniform", "alpha": 2}}))]
    made += [
        request(path + "?x=1", bytes(192), **{JSON_LENGTH_HEADER: 0}),
        request("POST /v2/models/tiny/versions/1/infer", nested),
    ]
    for encoding, body in (("gzip", gzip.compress(binary, mtime=0)), ("deflate", zlib.compress(binary))):
        made.append(
            request(
                path,
                body,
                **{JSON_LENGTH_HEADER: len(whole), "Content-Encoding": encoding, "Accept-Encoding": encoding},
            )
        )
    for encoding, bomb in (
        ("gzip", gzip.compress(bytes(3_000_000), mtime=0)),
        ("deflate", zlib.compress(b" " * 3_000_000)),
    ):
        made.append(request(path, bomb, **{"Content-Encoding": encoding}))
    return made


def json_requests() -> list[bytes]:
    """Requests with JSON bodies: tuning, feedback, operating points, the index and loading of models."""
    tune = "POST /v1/models/tiny/alpha/tune?wait=0"
    point = "PUT /v1/models/tiny/operating-points/night"
    label = {"id": "01a20dac039c7aa3912d77855a3cfdb1", "label": "class 1"}
    bodies: list[tuple[str, object]] = [
        (tune, {"source": "feedback", "since": 3600, "constraints": ["overall >= 0.7"], "low": -1, "high": 2}),
        (tune, {"source": "traffic", "target": {f"class {index}": 1.5 for index in range(5)}, "save_as": "night"}),
        (tune, {"source": "traffic", "target": "estimated", "since": "2026-11-23T12:00:00Z", "who": "a", "why": "b"}),
        ("POST /v1/feedback", label),
        ("POST /v1/feedback", [label, label | {"label": 3}]),
        (point, {"alpha": 1.25, "chosen_by": "hand", "who": "ada", "why": "because"}),
        ("POST /v2/repository/index", {"ready": True}),
        ("POST /v2/repository/models/absent/load", {"parameters": {}}),
    ]
    return [request(path, orjson.dumps(body), Content_Type="application/json") for path, body in bodies]


def queries() -> list[bytes]:
    """Requests with unusual paths and query strings."""
    picture = _saved(_noise("RGB", 8, 8), "PNG")
    kind = {"Content_Type": "image/png"}
    prior = quote('{"class 0": 1, "class 1": 2, "class 2": 1, "class 3": 1, "class 4": 9}')
    made = [
        request(f"POST /v1/models/tiny/classify?alpha=1.5&alpha=tail&top_k=3&version=1&prior={prior}", picture, **kind),
        request("POST /v1/models/tiny/alpha-path?from=-1&to=2.5&prior=uniform", picture, **kind),
    ]
    gets = (
        "/v1/models/tiny/alpha/curve?source=feedback&since=3600&low=-2&high=5&points=20", "/v1/models/tiny?version=1",
        "/v1/models/tiny/feedback?since=2026-11-23T12:00:00Z&last=100", "/v1/models/tiny/operating-points/balanced",
        "/v1/jobs/fb9a3abc663b3c2c45d057ef3b96a9f2", "/v1/models", "/v2/models/tiny/versions/1/config",
        "/v2/models/stats", "/playground/index.html", "/docs", "/readyz",
    )  # fmt: skip
    made += [request(f"GET {path}") for path in gets]
    return [*made, request("DELETE /v1/models/tiny/operating-points/night?who=ada&why=over")]


def archives() -> list[bytes]:
    """Zip files of class folders: stored, deflated, with a test split, with ZIP64, comments, and a bomb."""
    made = []
    picture = _saved(_noise("RGB", 8, 8), "PNG")
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for index in range(3):
                archive.writestr(f"set/test/class {index}/{index}.png", picture)
            archive.writestr("set/train/other/é.jpg", picture)
            archive.writestr("notes.txt", "n")
            archive.comment = b"comment"
        made.append(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("class 0/0.png", "w", force_zip64=True) as entry:
            entry.write(picture)
        archive.writestr("class 2/dense.png", picture * 40)
    made.append(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("class 1/bomb.png", bytes(3_000_000))
    return [*made, file.getvalue()]
