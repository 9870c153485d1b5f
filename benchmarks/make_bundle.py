"""Make the bundle for 224 x 224 images that `serve.py` measures beside the shipped 32 x 32 model.

The network is torchvision's MobileNetV3-large with the project's de-confounded head over 1,000 long-tailed classes. Its
weights are random (seeded), so it is as fast as a trained network but recognises nothing. One pass over random pictures
sets the batch norm statistics, so that activations are as large as in a trained network.

    uv run --group train python benchmarks/make_bundle.py
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from photo import photograph  # noqa: E402

from models import tde  # noqa: E402
from models.bundle import save_bundle  # noqa: E402
from models.manifest import FORMAT_VERSION, ClassInfo, Manifest, OperatingPoint, group_of  # noqa: E402
from models.preprocess import decode_image  # noqa: E402
from training.evaluation.graph_scores import open_graph  # noqa: E402
from training.export.onnx_graph import to_onnx  # noqa: E402
from training.model.classifier import Classifier  # noqa: E402
from training.model.heads import NormalisedHead  # noqa: E402
from training.recipe.recipe import Recipe  # noqa: E402

NAME = "mobilenet-v3-large"
NUM_CLASSES = 1000
HEAD_COUNT = 1280  # training images of the most frequent class, as in ImageNet-LT
TAIL_COUNT = 5  # training images of the least frequent class
PICTURES = 16  # for batch norm and the mean feature
TOLERANCE = 2e-3  # between a logit of ONNX Runtime and of torch
RECIPE = Recipe(
    name="benchmark",
    network="mobilenet_v3_large",
    height=224,
    width=224,
    resize=256,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def random_model(pixels: npt.NDArray[np.uint8]) -> tuple[Classifier, NormalisedHead, torch.Tensor, float]:
    """Make the network and let `pixels` set its batch norm.

    Args:
        pixels: (B, 224, 224, 3) uint8.

    Returns:
        the network in evaluation mode, its head, its (D,) mean feature, and the mean head cosine.

    """
    torch.manual_seed(0)
    model = Classifier(RECIPE, NUM_CLASSES)
    head = model.head
    if not isinstance(head, NormalisedHead):
        raise SystemExit(f"a {RECIPE.head} head has no head direction; the benchmark needs a de-confounded one")
    images = model.prepare(pixels)
    with torch.inference_mode():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # running statistics become those of this single pass
        model.train()(images)
        features, _ = model.eval()(images)
        mean_feature = features.mean(dim=0)
        cosine = head.projection(features, mean_feature).mean()
    return model, head, mean_feature.clone(), float(cosine)


def manifest(label_free: float) -> Manifest:
    """Return the bundle's manifest, without checksums."""
    counts = (
        (HEAD_COUNT * (TAIL_COUNT / HEAD_COUNT) ** (np.arange(NUM_CLASSES) / (NUM_CLASSES - 1))).round().astype(int)
    )
    chosen = {"head": 0.0, "label_free": label_free, "balanced": label_free, "tail": 1.5 * label_free}
    return Manifest(
        format_version=FORMAT_VERSION,
        name=NAME,
        version=1,
        task="classification",
        classes=tuple(ClassInfo(f"class {i}", count, group_of(count)) for i, count in enumerate(counts.tolist())),
        input=RECIPE.image_recipe,
        num_heads=RECIPE.num_heads,
        tau=RECIPE.tau,
        gamma=RECIPE.gamma,
        exempt_class=None,
        operating_points={
            name: OperatingPoint(alpha, "not chosen: the weights are random") for name, alpha in chosen.items()
        },
        metrics={},
        provenance={"recipe": RECIPE.name, "seed": 0, "network": RECIPE.network, "weights": "random"},
        sha256={},
    )


def check(graph: bytes, model: Classifier, pixels: npt.NDArray[np.uint8]) -> float:
    """Return the largest difference between a logit of ONNX Runtime and of torch; exit if it is too large."""
    with torch.inference_mode():
        _, expected = model(model.prepare(pixels))
    (given,) = open_graph(graph).run(["logits"], {"images": pixels})
    difference = float(np.abs(given - expected.numpy()).max())
    if not difference <= TOLERANCE:
        raise SystemExit(f"a logit of ONNX Runtime differs from torch's by {difference:.2g}, more than {TOLERANCE:g}")
    return difference


def main() -> None:
    """Make the bundle and print its path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-models", help="folder for NAME/1")
    options = parser.parse_args()
    pixels = np.stack([decode_image(photograph(seed), RECIPE.image_recipe) for seed in range(PICTURES)])
    model, head, mean_feature, cosine = random_model(pixels)
    graph = to_onnx(model, mean_feature, RECIPE)
    difference = check(graph, model, pixels)
    about = manifest(1.0 / cosine)
    effect = tde.class_effect(
        head.weight.detach().numpy(), mean_feature.numpy(), num_heads=head.num_heads, tau=head.tau, gamma=head.gamma
    )
    bundle = save_bundle(
        options.out / NAME / "1",
        about,
        model_onnx=graph,
        class_effect=effect,
        mean_feature=mean_feature.numpy(),
        class_counts=np.array([info.training_count for info in about.classes]),
        readme=f"# {NAME}\n\nRandom weights, made by benchmarks/make_bundle.py for speed measurements.\n",
    )
    print(f"{bundle.path}: {len(graph) / 1e6:.1f} MB, differs from torch by {difference:.1g} in a logit")


if __name__ == "__main__":
    main()
