"""The bundle's ONNX graph: export it from a trained classifier, and compare the two.

The graph is used only if it gives what torch gives, for single images and for batches, at several α.
"""

import warnings

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from typing_extensions import override

from models import tde
from training.data.labelled_images import LabelledImages
from training.errors import ExportError
from training.evaluation.graph_scores import open_graph
from training.model.classifier import Classifier
from training.model.direction import class_effect_of
from training.model.heads import NormalisedHead
from training.recipe.recipe import Recipe

__all__ = ["compare_with_torch", "features_graph", "normalised_head", "pixels_to_compare", "to_onnx"]

OPSET = 18
MIN_COMPARED_IMAGES = 8
MAX_COMPARED_IMAGES = 200
MAX_COMPARED_PIXELS = 1_000_000  # more pixels mean fewer images: a large network's activations would take gigabytes
COMPARED_ALPHAS = (-1.0, 0.0, 0.5, 1.0, 1.5, 3.0, 8.0)
MAX_DIFFERENCE = (
    2e-3  # logits span about ±τ = 16; float32 convolutions summed in another order differ by up to 1e-4 of that
)


class _Served(nn.Module):
    """The network as a bundle defines it: (B, H, W, 3) uint8 -> (B, C) logits and (B, K) head cosine."""

    mean_feature: Tensor

    def __init__(self, model: Classifier, mean_feature: Tensor) -> None:
        super().__init__()
        self.model = model
        self.head = normalised_head(model)
        self.register_buffer("mean_feature", mean_feature)

    @override
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.backbone(self.model.normalise(images.permute(0, 3, 1, 2)))
        return self.head(features), self.head.projection(features, self.mean_feature)


class _Features(nn.Module):
    """The backbone alone: (B, H, W, 3) uint8 -> (B, D) features."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    @override
    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.model.backbone(self.model.normalise(images.permute(0, 3, 1, 2)))
        return features


def normalised_head(model: Classifier) -> NormalisedHead:
    """Return the model's head, which must normalise features.

    Raises:
        ExportError: it does not, so TDE is not defined for it.

    """
    if not isinstance(model.head, NormalisedHead):
        raise ExportError("the head does not normalise features, so TDE is not defined for it; train another head")
    return model.head


def to_onnx(model: Classifier, mean_feature: Tensor, recipe: Recipe) -> bytes:
    """Return the bundle's graph: `images` uint8 (B, H, W, 3) -> `logits` (B, C) and `head_cosine` (B, K).

    The batch size is free. The graph has passed ONNX's own checker.
    """
    return _graph(_Served(model, mean_feature), ["logits", "head_cosine"], recipe)


def features_graph(model: Classifier, recipe: Recipe) -> bytes:
    """Return the graph of the backbone alone: `images` uint8 (B, H, W, 3) -> `features` (B, D)."""
    return _graph(_Features(model), ["features"], recipe)


def _graph(module: nn.Module, outputs: list[str], recipe: Recipe) -> bytes:
    example = torch.zeros(2, recipe.height, recipe.width, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own internals; the result is compared below
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
    if program is None:
        raise ExportError("torch exported no ONNX program")
    model = program.model_proto
    _strip_traces(model.graph)
    onnx.checker.check_model(model, full_check=True)
    graph: bytes = model.SerializeToString()
    return graph


def _strip_traces(graph: onnx.GraphProto) -> None:
    """Remove the exporter's notes on the source code: they would put local paths into the bundle."""
    graph.ClearField("metadata_props")
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")


def pixels_to_compare(images: LabelledImages | None, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """Return (B, H, W, 3): images spread evenly over the set, or random pixels if there are no images."""
    fitting = MAX_COMPARED_PIXELS // (recipe.height * recipe.width)
    count = max(MIN_COMPARED_IMAGES, min(MAX_COMPARED_IMAGES, fitting))
    if images is None:
        shape = (count, recipe.height, recipe.width, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return images.fetch(np.linspace(0, len(images) - 1, min(count, len(images)), dtype=np.int64))


@torch.inference_mode()
def compare_with_torch(graph: bytes, model: Classifier, mean_feature: Tensor, pixels: npt.NDArray[np.uint8]) -> float:
    """Return the largest difference between the graph and torch in any TDE logit, over several α.

    Args:
        graph: the ONNX graph.
        model: the classifier it was made from.
        mean_feature: (D,).
        pixels: (B, H, W, 3).

    Raises:
        ExportError: the difference exceeds the tolerance. This covers an image that gets other logits alone than in
            a batch.

    """
    features = model.backbone(model.prepare(pixels))
    head = normalised_head(model)
    torch_logits = head(features).numpy()
    torch_cosine = head.projection(features, mean_feature).numpy()
    session = open_graph(graph)
    logits, cosine = session.run(["logits", "head_cosine"], {"images": pixels})
    (alone,) = session.run(["logits"], {"images": pixels[:1]})
    effect = class_effect_of(head, mean_feature)
    differences = [
        tde.tde_logits(logits, cosine, effect, alpha) - tde.tde_logits(torch_logits, torch_cosine, effect, alpha)
        for alpha in COMPARED_ALPHAS
    ]
    differences.append(alone - torch_logits[:1])
    largest = float(np.max([np.abs(difference).max() for difference in differences]))  # NaN if any is
    if not largest <= MAX_DIFFERENCE:
        raise ExportError(
            f"ONNX Runtime and torch differ by {largest:.2g} in a logit; at most {MAX_DIFFERENCE:g} is allowed, so "
            "nothing is written"
        )
    return largest
