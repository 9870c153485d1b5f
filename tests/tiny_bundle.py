"""A valid, runnable bundle of a few kilobytes, written by a plain function so that any test can make its own.

The graph projects an 8 x 8 image to D = 8 features with a random matrix, and then computes what a trained model
computes: `logits` = (τ/K) Σ_k ŵ_k·x̂_k and `head_cosine` = x̂_k·d̂_k.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models import tde
from models.bundle import save_bundle
from models.manifest import ClassInfo, ImageRecipe, Manifest, OperatingPoint, group_of

__all__ = ["TinyModel", "write_tiny_bundle"]

SIDE = 8
NUM_HEADS = 2
WIDTH = 8
TAU = 16.0
GAMMA = 1 / 32


@dataclass(frozen=True)
class TinyModel:
    """The weights of a tiny model, with the arithmetic of its graph in numpy."""

    num_classes: int = 5
    seed: int = 0
    projection: NDArray[np.float32] = field(init=False)  # (H*W*3, D)
    weight: NDArray[np.float32] = field(init=False)  # (C, D)
    mean_feature: NDArray[np.float32] = field(init=False)  # (D,)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        shapes = {"projection": (SIDE * SIDE * 3, WIDTH), "weight": (self.num_classes, WIDTH), "mean_feature": (WIDTH,)}
        for name, shape in shapes.items():
            object.__setattr__(self, name, rng.standard_normal(shape, dtype=np.float32))

    @property
    def counts(self) -> NDArray[np.int64]:
        """(C,) long-tailed training counts: 500, 166, 55, 18, 6, ..., never below 1."""
        return np.maximum(500 // 3 ** np.arange(self.num_classes, dtype=np.int64), 1)

    @property
    def class_effect(self) -> NDArray[Any]:
        """(K, C) class effect of the weights."""
        return tde.class_effect(self.weight, self.mean_feature, num_heads=NUM_HEADS, tau=TAU, gamma=GAMMA)

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, 8, 8, 3) uint8 -> (B, D), the features inside the graph."""
        features: NDArray[np.float32] = images.reshape(len(images), -1).astype(np.float32) / 255 @ self.projection
        return features

    def logits(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """(B, 8, 8, 3) uint8 -> (B, C)."""
        return tde.classifier_logits(self.features(images), self.weight, num_heads=NUM_HEADS, tau=TAU, gamma=GAMMA)

    def head_cosine(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """(B, 8, 8, 3) uint8 -> (B, K)."""
        return tde.head_cosine(self.features(images), self.mean_feature, num_heads=NUM_HEADS)

    def onnx(self) -> onnx.ModelProto:
        """Return the graph in the bundle format's form."""
        part = WIDTH // NUM_HEADS
        weight = self.weight.reshape(self.num_classes, NUM_HEADS, part)
        weight = weight / (np.linalg.norm(weight, axis=2, keepdims=True) + GAMMA) * (TAU / NUM_HEADS)
        direction = self.mean_feature.reshape(NUM_HEADS, part)
        direction = direction / np.linalg.norm(direction, axis=1, keepdims=True)
        constants: dict[str, NDArray[Any]] = {
            "white": np.float32(255),
            "flat": np.array([0, SIDE * SIDE * 3], np.int64),
            "split": np.array([0, NUM_HEADS, part], np.int64),
            "join": np.array([0, WIDTH], np.int64),
            "head_axis": np.array([2], np.int64),
            "epsilon": np.float32(1e-12),
            "projection": self.projection,
            "weight": np.ascontiguousarray(weight.reshape(self.num_classes, WIDTH).T, np.float32),
            "direction": direction.astype(np.float32)[None],
        }
        steps = [
            ("Cast", ["images"], "pixels", {"to": TensorProto.FLOAT}),
            ("Div", ["pixels", "white"], "unit_pixels", {}),
            ("Reshape", ["unit_pixels", "flat"], "row", {}),
            ("MatMul", ["row", "projection"], "features", {}),
            ("Reshape", ["features", "split"], "heads", {}),
            ("ReduceL2", ["heads", "head_axis"], "norms", {"keepdims": 1}),
            ("Max", ["norms", "epsilon"], "safe_norms", {}),
            ("Div", ["heads", "safe_norms"], "unit_heads", {}),
            ("Reshape", ["unit_heads", "join"], "unit_features", {}),
            ("MatMul", ["unit_features", "weight"], "logits", {}),
            ("Mul", ["unit_heads", "direction"], "products", {}),
            ("ReduceSum", ["products", "head_axis"], "head_cosine", {"keepdims": 0}),
        ]
        graph = helper.make_graph(
            [helper.make_node(op, inputs, [output], **extra) for op, inputs, output, extra in steps],
            "tiny",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", self.num_classes]),
                helper.make_tensor_value_info("head_cosine", TensorProto.FLOAT, ["batch", NUM_HEADS]),
            ],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    def manifest(self, name: str = "tiny", version: int = 1, *, exempt_class: int | None = None) -> Manifest:
        """Return a valid manifest without checksums."""
        chosen = {"head": 0.0, "label_free": 1.25, "balanced": 1.5, "tail": 2.0}
        row = dict.fromkeys(("overall", "many", "medium", "few", "balanced", "harmonic", "geometric"), 0.5)
        row |= {"worst_class": 0.25, "macro_f1": 0.5, "ece": 0.125}
        protocol = {
            "zero": {"alpha": 0.0} | row,
            "label_free": {"alpha": 1.25} | row,
            "cross_fitted": {"alpha": 1.5} | row,
            "hindsight": {"alpha": 1.5} | row,
        }
        return Manifest(
            format_version=1,
            name=name,
            version=version,
            task="classification",
            classes=tuple(
                ClassInfo(f"class {index}", count, group_of(count)) for index, count in enumerate(self.counts.tolist())
            ),
            input=ImageRecipe(SIDE, SIDE, SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
            num_heads=NUM_HEADS,
            tau=TAU,
            gamma=GAMMA,
            exempt_class=exempt_class,
            operating_points={key: OperatingPoint(alpha, f"for tests: {alpha}") for key, alpha in chosen.items()},
            metrics={"protocol": protocol, "images": 100, "data": "none", "command": "none", "note": "invented"},
            provenance={"recipe": "tiny", "seed": self.seed, "date": "2026-11-23"},
            sha256={},
        )

    def write(self, root: Path, manifest: Manifest, **changes: Any) -> Path:
        """Save the bundle at ROOT/NAME/VERSION; `changes` replace arguments of `save_bundle`."""
        arguments: dict[str, Any] = {
            "model_onnx": self.onnx().SerializeToString(),
            "class_effect": self.class_effect,
            "mean_feature": self.mean_feature,
            "class_counts": self.counts,
            "readme": "# tiny\n\nInvented numbers, for tests.\n",
        }
        return save_bundle(root / manifest.name / str(manifest.version), manifest, **(arguments | changes)).path


def write_tiny_bundle(
    root: Path,
    name: str = "tiny",
    version: int = 1,
    *,
    num_classes: int = 5,
    seed: int = 0,
    exempt_class: int | None = None,
) -> Path:
    """Write a valid bundle whose graph runs to ROOT/NAME/VERSION; return that folder."""
    model = TinyModel(num_classes, seed)
    return model.write(root, model.manifest(name, version, exempt_class=exempt_class))
