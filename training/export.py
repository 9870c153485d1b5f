"""`python -m training export`: a finished run becomes a bundle, or nothing is written.

The ONNX graph must give what torch gives, on real images, for single images and for batches, at several α; then it is
scored on the test split, operating points are chosen, and the bundle is saved with its card and curve.
"""

import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from models import tde
from models.bundle import Bundle, save_bundle
from models.errors import BundleExistsError
from models.manifest import FORMAT_VERSION, ClassInfo, Manifest, OperatingPoint
from models.scores import Scores
from training.bundle_metrics import bundle_metrics
from training.card import model_card
from training.checkpoint import load_checkpoint
from training.classifier import Classifier
from training.data.data_set import check_exempt, options_of
from training.data.images import LabelledImages
from training.data.options import changed_options
from training.errors import CheckpointError, ExportError
from training.evaluate import picture_of
from training.heads import NormalisedHead
from training.protocol import balanced_alpha, evaluate_scores, tail_alpha
from training.recipe import Recipe
from training.scoring import load_test_images, open_graph, run_graph

__all__ = ["compare_with_torch", "export", "restore_classifier", "to_onnx"]

OPSET = 18
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
COMPARED_IMAGES = 200
COMPARED_ALPHAS = (-1.0, 0.0, 0.5, 1.0, 1.5, 3.0, 8.0)
TOLERANCE = 2e-3  # logits span about ±τ = 16; float32 convolutions summed in another order differ by up to 1e-4 of that


def export(run: Path, out: Path, given: dict[str, Any] | None = None) -> Bundle:
    """Write the run's model as a bundle.

    Args:
        run: the folder given to `train --out`.
        out: `NAME/VERSION` of the new bundle, or `NAME` for that model's next version.
        given: fields of `DataOptions` that differ from those the run was trained with, to find its test part.
    Raises:
        CheckpointError: no finished run there.
        ExportError: a head without TDE, or a graph that disagrees with torch.
        DataError: the test part cannot be read, or is not that of the run any more.
        models.errors.BundleError: the place is taken, or the name is not a bundle's.
    """
    place = _place(out)
    if place.exists():
        raise BundleExistsError(f"{place} is there already; delete it, or save as another version")
    state = load_checkpoint(run)
    recipe = Recipe.from_dict(state["recipe"])
    model = restore_classifier(state, recipe)
    data = changed_options(options_of(state), given or {})
    names = tuple(state["classes"])
    check_exempt(data, names)
    images, part = load_test_images(data, names, recipe.image_recipe, kept=state.get("test_fingerprint"))
    label_free = _label_free_alpha(state)
    graph = to_onnx(model, state["mean_feature"], recipe)
    difference = compare_with_torch(graph, model, state["mean_feature"], images)

    class_effect = _class_effect(model, state["mean_feature"])
    exempt = None if data.exempt_class is None else names.index(data.exempt_class)
    logits, cosine = run_graph(graph, images)
    scores = Scores(logits, tde.head_effect(cosine, class_effect), images.labels, tuple(state["groups"]), exempt)
    protocol = evaluate_scores(scores, label_free)
    classes = tuple(map(ClassInfo, names, state["class_counts"], state["groups"]))
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=place.parent.name,
        version=int(place.name),
        task="classification",
        classes=classes,
        input=recipe.image_recipe,
        num_heads=model.head.num_heads,
        tau=model.head.tau,
        gamma=model.head.gamma,
        exempt_class=exempt,
        operating_points=_operating_points(scores, label_free, part.files.source, data.exempt_class),
        metrics=bundle_metrics(scores, protocol, classes, part.files.source, data.arguments),
        provenance=_provenance(recipe, state, difference),
        sha256={},
    )
    return save_bundle(
        place,
        manifest,
        model_onnx=graph,
        class_effect=class_effect,
        mean_feature=state["mean_feature"].numpy(),
        class_counts=np.asarray(state["class_counts"]),
        readme=model_card(manifest),
        extra_files={"curve.svg": picture_of(manifest.name, scores, protocol)},
    )


def restore_classifier(state: dict[str, Any], recipe: Recipe) -> Classifier:
    """Return the trained model in evaluation mode, on the CPU; the moving average where the recipe keeps one."""
    if not state["finished"]:
        raise CheckpointError(
            f"the run stopped after {state['epochs_done']} of {recipe.epochs} epochs; finish it with "
            "`train … --resume`, then export"
        )
    model = Classifier(recipe, len(state["classes"]))
    if not isinstance(model.head, NormalisedHead):
        raise ExportError(
            f"head {recipe.head!r} does not normalise features, so TDE is not defined for it; train another head"
        )
    weights = state["model"]
    if state["average"] is not None:
        weights = {
            name.removeprefix("module."): value for name, value in state["average"].items() if name != "n_averaged"
        }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint is of another network: {str(error).splitlines()[-1].strip()}") from error
    return model.eval()


class _Served(nn.Module):
    """The graph of the bundle's contract: (B, H, W, 3) uint8 -> (B, C) logits, (B, K) head cosine."""

    def __init__(self, model: Classifier, mean_feature: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean_feature", mean_feature)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.backbone(self.model.normalise(images.permute(0, 3, 1, 2)))
        return self.model.head(features), self.model.head.projection(features, self.mean_feature)


def to_onnx(model: Classifier, mean_feature: Tensor, recipe: Recipe) -> bytes:
    """Return the graph of the bundle's contract, checked by onnx's own checker, batch size open."""
    example = torch.zeros(2, recipe.height, recipe.width, 3, dtype=torch.uint8)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals; the result is compared below
        program = torch.onnx.export(
            _Served(model, mean_feature).eval(),
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits", "head_cosine"],
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


@torch.inference_mode()
def compare_with_torch(graph: bytes, model: Classifier, mean_feature: Tensor, images: LabelledImages) -> float:
    """Return the largest difference of any TDE logit over several α between the graph and torch.

    Raises:
        ExportError: it exceeds the tolerance, or a batch answers differently from its images alone.
    """
    chosen = np.linspace(0, len(images) - 1, min(COMPARED_IMAGES, len(images)), dtype=np.int64)
    pixels = images.fetch(chosen)
    features = model.backbone(model.prepare(pixels))
    head = model.head
    expected = (head(features).numpy(), head.projection(features, mean_feature).numpy())
    session = open_graph(graph)
    given = session.run(["logits", "head_cosine"], {"images": pixels})
    (alone,) = session.run(["logits"], {"images": pixels[:1]})
    effect = _class_effect(model, mean_feature)
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


def _class_effect(model: Classifier, mean_feature: Tensor) -> npt.NDArray[np.float32]:
    head = model.head
    return tde.class_effect(
        head.weight.detach().numpy(), mean_feature.numpy(), num_heads=head.num_heads, tau=head.tau, gamma=head.gamma
    )


def _label_free_alpha(state: dict[str, Any]) -> float:
    try:
        return tde.label_free_alpha(state["mean_head_cosine"].numpy()[None])
    except ValueError as error:
        raise ExportError(f"{error}; train longer, or with a clean mean feature") from error


def _operating_points(scores: Scores, label_free: float, source: str, exempt: str | None) -> dict[str, OperatingPoint]:
    others = scores.among_others()
    labelled = others.labelled_intervals()
    on_test = f"on the {len(others):,} images of {source}"
    if exempt is not None:
        on_test = (
            f"among the classes other than {exempt!r}, which is exempt, on their {len(others):,} images of {source}"
        )
    return {
        "head": OperatingPoint(0.0, "the plain classifier"),
        "label_free": OperatingPoint(label_free, "1 / mean head cosine of the training set; no labels used"),
        "balanced": OperatingPoint(
            balanced_alpha(labelled), f"best mean per-class recall {on_test}; middle of the best interval"
        ),
        "tail": OperatingPoint(
            tail_alpha(labelled), f"best accuracy of the rarest group, overall no worse than at alpha 0, {on_test}"
        ),
    }


def _place(out: Path) -> Path:
    """Return NAME/VERSION: as given, or the next free version of NAME."""
    if not _NAME.fullmatch(out.parent.name if out.name.isdecimal() else out.name):
        raise ExportError(
            f"--out {out}: a model's name is of small letters, digits, '.', '_' and '-', such as cifar10-lt"
        )
    if out.name.isdecimal():
        return out
    taken = [int(folder.name) for folder in out.iterdir() if folder.name.isdecimal()] if out.is_dir() else []
    return out / str(max(taken, default=0) + 1)


def _provenance(recipe: Recipe, state: dict[str, Any], difference: float) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "seed": state["seed"],
        "data": f"{state['data']}, train split",
        "test_fingerprint": state.get("test_fingerprint", ""),
        "data_note": state.get("data_note", ""),
        "unreadable_images": state.get("unreadable_images", {}),
        "imbalance_ratio": recipe.imbalance_ratio,
        "epochs": recipe.epochs,
        "network": recipe.network,
        "head": recipe.head,
        "mean_feature": recipe.mean_feature,
        "weights": "moving average" if recipe.ema_decay is not None else "last epoch",
        "commit": state["commit"],
        "date": state["date"],
        "hardware": state["hardware"],
        "precision": state["precision"],
        "training_seconds": round(state["seconds"]),
        "command": state["command"],
        "onnx_torch_difference": difference,
    }
