"""Measure how well class frequencies are estimated from unlabelled traffic whose true frequencies are known.

Each class of the test split is halved. The calibration is fitted on one half. Traffic is drawn from the other half with
three class frequencies: uniform, the training set's long tail, and that tail reversed. The table shows the L1 distance
of each estimate from the drawn frequencies, from 0 (exact) to 2 (worst).

    uv run --group train python benchmarks/estimate_prior.py cifar10-lt --data cifar10-lt.zip
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from models.bundle import load_bundle  # noqa: E402
from models.prior import estimate_prior, log_prior  # noqa: E402
from models.repository import find_bundles  # noqa: E402
from models.tde import softmax  # noqa: E402
from models.tuning import halves  # noqa: E402
from training.evaluation.calibration import fit_calibration  # noqa: E402
from training.evaluation.graph_scores import load_test_images, run_graph  # noqa: E402


def drawn(labels: NDArray[np.int64], truth: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return indices of images with the class frequencies `truth`, as closely as whole images allow."""
    parts = []
    for index, share in enumerate(truth / truth.max()):
        members = rng.permutation(np.flatnonzero(labels == index))
        parts.append(members[: max(1, round(share * len(members)))])
    return np.concatenate(parts)


def main() -> None:
    """Score the test images, draw traffic, estimate its frequencies and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name of a shipped model")
    parser.add_argument("--data", type=Path, required=True, help="folder or zip with test/CLASS/IMAGE")
    options = parser.parse_args()
    found = [path for path in find_bundles(ROOT / "models" / "shipped") if path.parent.name == options.model]
    if not found:
        raise SystemExit(f"there is no shipped model {options.model}")
    bundle = load_bundle(found[-1])
    images, _ = load_test_images(
        options.data, tuple(info.name for info in bundle.manifest.classes), bundle.manifest.input
    )
    logits, _ = run_graph(bundle.model_path, images)
    train = np.exp(log_prior(bundle.class_counts))
    fitted = halves(images.labels)
    rng = np.random.default_rng(0)
    calibration = fit_calibration(logits[fitted], images.labels[fitted], bundle.class_counts)
    print(f"{options.model}: temperature {calibration.temperature:.3f}, fitted on {fitted.sum():,} images")
    print(f"{'traffic':<16}{'images':>7}{'training prior':>16}{'mean prediction':>17}{'EM':>7}{'EM, calibrated':>16}")
    uniform = np.full(len(train), 1 / len(train))
    for name, truth in (("uniform", uniform), ("as in training", train), ("reversed", train[::-1])):
        chosen = np.flatnonzero(~fitted)[drawn(images.labels[~fitted], truth, rng)]
        actual = np.bincount(images.labels[chosen], minlength=len(train)) / len(chosen)
        plain = softmax(logits[chosen].astype(np.float64))
        calibrated = calibration.probabilities(logits[chosen])
        estimates = (train, plain.mean(axis=0), estimate_prior(plain, train), estimate_prior(calibrated, train))
        distances = [float(np.abs(estimate - actual).sum()) for estimate in estimates]
        cells = "".join(f"{d:>{width}.3f}" for d, width in zip(distances, (16, 17, 7, 16), strict=True))
        print(f"{name:<16}{len(chosen):>7}{cells}")


if __name__ == "__main__":
    main()
