"""`python benchmarks/enlarged_pictures.py cifar10-lt.zip OUT`: enlarge small pictures to JPEGs of a photograph's size.

The result is input for timing `python -m training fit`: OUT/train/CLASS/IMAGE.jpg, cut to a long tail, and
OUT/test/CLASS/IMAGE.jpg. Reading, decoding and computing takes as long as for photographs of that size.
"""

import argparse
import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from training.data.class_folders import open_class_folders
from training.data.labelled_files import LabelledFiles
from training.data.long_tail import long_tail_counts


def main() -> None:
    """Choose pictures of both splits and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data", type=Path, help="folder or zip with train/CLASS/IMAGE and test/CLASS/IMAGE")
    parser.add_argument("out", type=Path)
    parser.add_argument("--largest", type=int, default=2000, help="training pictures of the most frequent class")
    parser.add_argument("--imbalance-ratio", type=float, default=100.0)
    parser.add_argument("--test", type=int, default=100, help="test pictures of each class; 0 omits the test split")
    parser.add_argument("--side", type=int, default=256, help="side of the JPEGs in pixels")
    options = parser.parse_args()
    for split in ("train", "test"):
        files = open_class_folders(options.data, split)
        classes = len(files.classes)
        counts = long_tail_counts(options.largest, classes, options.imbalance_ratio)
        if split == "test":
            counts = [options.test] * classes
        chosen = [np.flatnonzero(files.labels == label)[:count] for label, count in enumerate(counts)]
        if sum(counts):
            write(files.part(np.concatenate(chosen)), options.out, options.side)


def write(files: LabelledFiles, out: Path, side: int) -> None:
    """Enlarge each picture and write it as JPEG."""

    def enlarge(name: str) -> None:
        picture = Image.open(io.BytesIO(files.read(name))).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        target = (out / name).with_suffix(".jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target, "JPEG", quality=90)

    with ThreadPoolExecutor() as threads:
        list(threads.map(enlarge, files.names))
    print(f"{out}: {len(files):,} pictures from {files.source}")


if __name__ == "__main__":
    main()
