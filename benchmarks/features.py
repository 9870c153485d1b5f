"""Compare the speed of a frozen backbone's features in torch (float32 and bfloat16) and ONNX Runtime, in turns.

uv run --group train --group backbones python benchmarks/features.py efficientnet_lite0
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from statistics import median

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from training.fit.extract_features import BATCH, open_backbone  # noqa: E402
from training.model.classifier import Classifier  # noqa: E402
from training.model.networks.published_input import published_input  # noqa: E402
from training.recipe.recipe import Recipe  # noqa: E402


def main() -> None:
    """Measure images/s and print the median and range of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone", help="name, as for `python -m training fit --backbone`")
    parser.add_argument("--images", type=int, default=64, help=f"number of images, a multiple of {2 * BATCH}")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, after a warm-up round")
    options = parser.parse_args()
    images: int = options.images
    if images < 1 or images % (2 * BATCH):
        parser.error(f"--images is {images}; give a multiple of {2 * BATCH}")
    given = published_input(options.backbone)
    recipe = Recipe(name="fit", network=options.backbone, height=given.height, width=given.width, resize=given.resize)
    model = Classifier(recipe, 10).eval().to(memory_format=torch.channels_last)
    pixels = np.random.default_rng(0).integers(0, 256, (images, given.height, given.width, 3), dtype=np.uint8)
    network, _ = open_backbone(model, recipe, torch.device("cpu"))

    @torch.inference_mode()
    def in_torch(precision: torch.dtype) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            for part in np.split(pixels, 2):
                model.backbone(model.prepare(part).contiguous(memory_format=torch.channels_last))

    def in_onnx_runtime() -> None:
        with ThreadPoolExecutor(cpu_count()) as threads:
            list(threads.map(network, np.split(pixels, images // BATCH)))

    ways: dict[str, Callable[[], None]] = {
        "torch, float32": lambda: in_torch(torch.float32),
        "torch, bfloat16": lambda: in_torch(torch.bfloat16),
        "ONNX Runtime, float32": in_onnx_runtime,
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds + 1):
        for name, run in ways.items():
            started = time.monotonic()
            run()
            if turn:  # the first round warms up
                speeds[name].append(images / (time.monotonic() - started))
    for name, rates in speeds.items():
        print(f"{name:22} {median(rates):6.1f} images/s ({min(rates):.1f} to {max(rates):.1f})")


if __name__ == "__main__":
    main()
