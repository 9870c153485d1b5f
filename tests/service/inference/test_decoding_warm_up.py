"""A process that is ready has imported all of Pillow that any picture needs, and no format that is never accepted."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from models.bundle import Bundle
from tests.service.conftest import picture

ROOT = Path(__file__).parents[3]
CODE = """
import os, sys
from pathlib import Path
from service.app import app_from_environment
from models.errors import ImageError
from models.preprocess import decode_image
app = app_from_environment()  # as each process of several does
recipe = next(iter(app.context.registry)).bundle.manifest.input
before = set(sys.modules)
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        decode_image(path.read_bytes(), recipe)
    except ImageError:
        assert path.name.startswith("bad"), path
    else:
        assert not path.name.startswith("bad"), path
print(*sorted(set(sys.modules) - before))
print(*sorted(name for name in sys.modules if name.startswith("PIL.") and name.endswith("ImagePlugin")))
"""
COMMON = {"Bmp", "Gif", "Jpeg", "Png", "Ppm"}  # which Pillow imports at the first picture of any format


def pictures() -> Iterator[tuple[str, bytes]]:
    """Pictures of every kind whose code Pillow might import late."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 8
    exif[0x010F] = "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = PngImagePlugin.PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>")
    more = [image.rotate(90)]
    wide = Image.fromarray(np.arange(2000, dtype=np.uint16).reshape(40, 50))
    for number, (format_name, mode, options) in enumerate(
        [
            ("JPEG", "RGB", {}),
            ("JPEG", "RGB", {"exif": exif, "progressive": True}),
            ("JPEG", "RGB", {"icc_profile": profile, "comment": "text"}),
            ("JPEG", "CMYK", {"dpi": (300, 300)}),
            ("JPEG", "L", {}),
            ("MPO", "RGB", {"save_all": True, "append_images": more}),
            ("PNG", "RGB", {"exif": exif, "pnginfo": xmp, "icc_profile": profile}),
            ("PNG", "RGBA", {}),
            ("PNG", "P", {"transparency": 3}),
            ("PNG", "1", {}),
            ("PNG", "LA", {}),
            ("PNG", "RGB", {"save_all": True, "append_images": more}),
            ("PNG", "I;16", {}),
            ("WEBP", "RGB", {"exif": exif, "icc_profile": profile}),
            ("WEBP", "RGBA", {"lossless": True}),
            ("WEBP", "RGB", {"save_all": True, "append_images": more}),
        ]
    ):
        file = io.BytesIO()
        (wide if mode == "I;16" else image.convert(mode)).save(file, format_name, **options)
        yield f"{number:02}-{format_name}-{mode}", file.getvalue()
    yield "bad-cut", picture(1, 64)[:200]
    yield "bad-gif", b"GIF89a" + bytes(50)
    yield "bad-text", b"no picture"
    yield "bad-tiff", b"II*\0" + bytes(50)


@pytest.mark.parametrize("first", ["", "WEBP"])
def test_no_picture_waits_for_pillow_to_import_its_format(tiny_bundle: Bundle, tmp_path: Path, first: str) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, data in pictures():
        if first in name:
            (folder / name).write_bytes(data)
    environment = {
        "LONGTAIL_MODELS": str(tiny_bundle.path.parent.parent),
        "LONGTAIL_DATABASE": f"sqlite:///{tmp_path}/x",
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, folder], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    late, plugins = done.stdout.split("\n")[:2]
    assert late == ""
    expected = {f"PIL.{name}ImagePlugin" for name in (*COMMON, "WebP", "Tiff")}  # TIFF is the format of EXIF
    assert set(plugins.split()) <= expected | {"PIL.MpoImagePlugin"}
