"""The bundle's ONNX graph: made from a trained classifier, and held against it.

The graph must give what torch gives, for single images and for batches, at several α, or it is not used.
"""

import io
import warnings

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from models import tde
from training.data.labelled_images import LabelledImages
from training.errors import ExportError
from training.evaluation.graph_scores import open_graph
from training.model.classifier import Classifier
from training.model.direction import class_effect_of
from training.recipe.recipe import Recipe

__all__ = ["compare_with_torch", "features_graph", "pixels_to_compare", "to_onnx"]

OPSET = 18
COMPARED_IMAGES = 200
COMPARED_PIXELS = 1_000_000  # at most; beyond it fewer images, or a large network's activations would take gigabytes
COMPARED_ALPHAS = (-1.0, 0.0, 0.5, 1.0, 1.5, 3.0, 8.0)
TOLERANCE = 2e-3  # logits span about ±τ = 16; float32 convolutions summed in another order differ by up to 1e-4 of that


class _Served(nn.Module):
    """The graph of the bundle's contract: (B, H, W, 3) uint8 -> (B, C) logits, (B, K) head cosine."""

    def __init__(self, model: Classifier, mean_feature: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean_feature", mean_feature)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.backbone(self.model.normalise(images.permute(0, 3, 1, 2)))
        return self.model.head(features), self.model.head.projection(features, self.mean_feature)


class _Features(nn.Module):
    """(B, H, W, 3) uint8 -> (B, D) features."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.model.backbone(self.model.normalise(images.permute(0, 3, 1, 2)))
        return features


def to_onnx(model: Classifier, mean_feature: Tensor, recipe: Recipe) -> bytes:
    """Return the graph of the bundle's contract, checked by onnx's own checker, batch size open."""
    return _graph(_Served(model, mean_feature), ["logits", "head_cosine"], recipe)


def features_graph(model: Classifier, recipe: Recipe) -> bytes:
    """Return the graph `images` uint8 (B, H, W, 3) -> `features` (B, D): the backbone without its head."""
    return _graph(_Features(model), ["features"], recipe)


def _graph(module: nn.Module, outputs: list[str], recipe: Recipe) -> bytes:
    example = torch.zeros(2, recipe.height, recipe.width, 3, dtype=torch.uint8)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals; the result is compared below
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=outputs,
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            opset_version=OPSET,
            verbose=False,
        )
    program.save(file)
    graph = onnx.load_from_string(file.getvalue())
    _strip_traces(graph.graph)
    onnx.checker.check_model(graph, full_check=True)
    return graph.SerializeToString()


def _strip_traces(graph: onnx.GraphProto) -> None:
    """Remove what the exporter notes about the source code: it would put this machine's paths into the bundle."""
    graph.ClearField("metadata_props")
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")


def pixels_to_compare(images: LabelledImages | None, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """Return (B, H, W, 3): some of the images, from all over the set; random pixels where there are none."""
    most = max(8, min(COMPARED_IMAGES, COMPARED_PIXELS // (recipe.height * recipe.width)))
    if images is None:
        shape = (most, recipe.height, recipe.width, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return images.fetch(np.linspace(0, len(images) - 1, min(most, len(images)), dtype=np.int64))


@torch.inference_mode()
def compare_with_torch(graph: bytes, model: Classifier, mean_feature: Tensor, pixels: npt.NDArray[np.uint8]) -> float:
    """Return the largest difference of any TDE logit over several α between the graph and torch.

    Args:
        graph: ONNX.
        model: what it was made from.
        mean_feature: (D,).
        pixels: (B, H, W, 3).

    Raises:
        ExportError: it exceeds the tolerance, or a batch answers differently from its images alone.

    """
    features = model.backbone(model.prepare(pixels))
    head = model.head
    expected = (head(features).numpy(), head.projection(features, mean_feature).numpy())
    session = open_graph(graph)
    given = session.run(["logits", "head_cosine"], {"images": pixels})
    (alone,) = session.run(["logits"], {"images": pixels[:1]})
    effect = class_effect_of(head, mean_feature)
    difference = max(
        float(np.abs(tde.tde_logits(*given, effect, alpha) - tde.tde_logits(*expected, effect, alpha)).max())
        for alpha in COMPARED_ALPHAS
    )
    difference = max(difference, float(np.abs(alone - expected[0][:1]).max()))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"ONNX Runtime and torch differ by {difference:.2g} in a logit, over {TOLERANCE:g}; nothing is written"
        )
    return difference
