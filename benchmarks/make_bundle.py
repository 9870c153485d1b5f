"""A bundle for 224 x 224 pictures, and a picture for it: what `serve.py` measures beside the shipped 32 x 32 model.

torchvision's MobileNetV3-large with the project's de-confounded head over 1,000 long-tailed classes. Its weights are
random (seeded): it takes the time of a trained one and recognises nothing. Batch norm is set by one pass over made-up
pictures, so that the numbers inside are of the size they have in a trained network.

    uv run --group train python benchmarks/make_bundle.py
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from photo import photograph  # noqa: E402

from models import tde  # noqa: E402
from models.bundle import save_bundle  # noqa: E402
from models.manifest import FORMAT_VERSION, ClassInfo, Manifest, OperatingPoint, group_of  # noqa: E402
from models.preprocess import decode_image  # noqa: E402
from training.evaluation.scoring import open_graph  # noqa: E402
from training.export.onnx_graph import to_onnx  # noqa: E402
from training.model.classifier import Classifier  # noqa: E402
from training.recipe.recipe import Recipe  # noqa: E402

NAME = "mobilenet-v3-large"
NUM_CLASSES = 1000
# training images of the most and the least frequent class, as in ImageNet-LT
HEAD_COUNT = 1280
TAIL_COUNT = 5
PICTURES = 16  # that set batch norm and the mean feature
TOLERANCE = 2e-3  # largest difference of a logit between ONNX Runtime and torch
RECIPE = Recipe(
    name="benchmark",
    network="mobilenet_v3_large",
    height=224,
    width=224,
    resize=256,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def random_model(pixels: np.ndarray) -> tuple[Classifier, torch.Tensor, float]:
    """Return the network with batch norm set by `pixels`, its mean feature, and the mean head cosine."""
    torch.manual_seed(0)
    model = Classifier(RECIPE, NUM_CLASSES)
    images = model.prepare(pixels)
    with torch.inference_mode():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # running statistics become those of this one pass
        model.train()(images)
        model.eval()
        features = model.backbone(images)
        mean_feature = features.mean(dim=0)
        cosine = model.head.projection(features, mean_feature).mean()
    return model, mean_feature.clone(), float(cosine)


def manifest(label_free: float) -> Manifest:
    """What the bundle says about itself, without checksums."""
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
            name: OperatingPoint(alpha, "random weights; nothing to choose") for name, alpha in chosen.items()
        },
        metrics={},
        provenance={"recipe": RECIPE.name, "seed": 0, "network": RECIPE.network, "weights": "random"},
        sha256={},
    )


def check(graph: bytes, model: Classifier, pixels: np.ndarray) -> float:
    """Return the largest difference of a logit between ONNX Runtime and torch; refuse one that is too large."""
    with torch.inference_mode():
        expected = model(model.prepare(pixels)).numpy()
    (given,) = open_graph(graph).run(["logits"], {"images": pixels})
    difference = float(np.abs(given - expected).max())
    if not difference <= TOLERANCE:
        raise SystemExit(f"ONNX Runtime and torch differ by {difference:.2g} in a logit, over {TOLERANCE:g}")
    return difference


def main() -> None:
    """Make both and say where they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-models", help="folder for NAME/1")
    options = parser.parse_args()
    pixels = np.stack([decode_image(photograph(seed), RECIPE.image_recipe) for seed in range(PICTURES)])
    model, mean_feature, cosine = random_model(pixels)
    graph = to_onnx(model, mean_feature, RECIPE)
    difference = check(graph, model, pixels)
    about = manifest(1.0 / cosine)
    head = model.head
    effect = tde.class_effect(
        head.weight.detach().numpy(), mean_feature.numpy(), num_heads=head.num_heads, tau=head.tau, gamma=head.gamma
    )
    bundle = save_bundle(
        options.out / NAME / "1",
        about,
        model_onnx=graph,
        class_effect=effect,
        mean_feature=mean_feature.numpy(),
        class_counts=np.array([each.training_count for each in about.classes]),
        readme=f"# {NAME}\n\nRandom weights, made by benchmarks/make_bundle.py to measure speed with.\n",
    )
    print(f"{bundle.path}: {len(graph) / 1e6:.1f} MB, differs from torch by {difference:.1g} in a logit")


if __name__ == "__main__":
    main()
