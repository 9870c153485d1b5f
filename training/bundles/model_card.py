"""The model card in Markdown: what the model is for, how accurate it is and how it was made, from the manifest alone.

A revision of a bundle regenerates the card only if the card on disk is a generated one. Up to version 0.5 the generator
used the wording in `_EARLIER_WORDING`; cards in that wording count as generated too.
"""

from collections import Counter
from typing import Any

from models.manifest import Manifest

__all__ = ["is_generated", "model_card"]

FIGURES = ("overall", "many", "medium", "few", "balanced", "harmonic", "worst_class", "macro_f1", "ece")


_EARLIER_WORDING = (  # (now, up to version 0.5)
    (", trained on long-tailed data (", ", trained on a long tail ("),
    (" of the rarest), for pictures of ", " of the rarest), for "),
    (
        " pixels. Each request can choose α: 0 is the plain classifier, larger values remove more of ",
        " pictures. Each request may choose α: 0 is the plain classifier, larger values take out more of ",
    ),
    (
        "it keeps its probability at α = 0 for every α, and the other classes share ",
        "it keeps its probability of α = 0 at every α, and the others share ",
    ),
    ("The figures above cover all images and classes, as ", "The figures above are of all images and classes, as "),
    ("so hindsight need not be the best α overall.", "so hindsight need not be the best of all α."),
    (
        "To reproduce the figures above from the bundle's own ONNX graph, run",
        "The figures above are had again, from the bundle's own ONNX graph, with",
    ),
    ("Trained on the small pictures of a benchmark; ", "Trained on small pictures of a benchmark; "),
    (
        "Made for pictures like those it was trained on, named above; ",
        "Trained on the pictures named above, and good for pictures like them; ",
    ),
    ("A network from research code; ", "A network of research code; "),
    (
        "The backbone was trained on other pictures, not on these; ",
        "A backbone that was trained on other pictures, and not on these; ",
    ),
    (
        "An α in the table above that was not tuned may be far from the best one: choose α on ",
        "An α that was not tuned, as the table above says, may be far from the best one: choose it on ",
    ),
    (" equally frequent; if your traffic differs, choose it ", " equally frequent; where traffic is not, choose it "),
)


def model_card(manifest: Manifest) -> str:
    """Return the bundle's README.md."""
    counts = [info.training_count for info in manifest.classes]
    groups = Counter(info.group for info in manifest.classes)
    size = f"{manifest.input.width}×{manifest.input.height}"
    sections = [
        f"# {manifest.name}, version {manifest.version}",
        f"An image classifier for {len(counts)} classes, trained on long-tailed data ({max(counts):,} images of the "
        f"most frequent class, {min(counts):,} of the rarest), for pictures of {size} pixels. Each request can choose "
        "α: 0 is the plain classifier, larger values remove more of the learnt preference for frequent classes.",
        *_accuracy(manifest),
        f"Groups by training images: many (more than 100) {groups['many']} classes, medium (20 to 100) "
        f"{groups['medium']}, few (fewer than 20) {groups['few']}."
        + (" Figures are percentages; ece is the expected calibration error, 15 bins." if manifest.metrics else ""),
        "## Operating points",
        _operating_points(manifest),
        *_exempt(manifest),
        "## How it was made",
        *_origin(manifest),
        *_again(manifest),
        "ONNX Runtime and torch differ by at most "
        f"{manifest.provenance['onnx_torch_difference']:.1g} in a TDE logit, α from −1 to 8.",
        "## Limits",
        _limits(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _accuracy(manifest: Manifest) -> list[str]:
    metrics = manifest.metrics
    if not metrics:
        return ["**Not evaluated**: there were no labelled pictures when this bundle was made."]
    return [
        "![Accuracy against α](curve.svg)",
        f"Accuracy on the {metrics['images']:,} images of {metrics['data']}. *cross-fitted* is what to expect: α "
        "chosen on one half of the images, scored on the other, both ways. *hindsight* is the best α on the images it "
        "is scored on, an upper bound.",
        _protocol_table(metrics["protocol"]),
    ]


def _origin(manifest: Manifest) -> list[str]:
    """Describe where the model comes from: imported, fitted on a frozen backbone, or trained."""
    for key, described in (("imported_from", _import), ("pretrained", _fit)):
        if key in manifest.provenance:
            return described(manifest)
    return _training(manifest)


def _fit(manifest: Manifest) -> list[str]:
    made = manifest.provenance
    return [
        f"{made['network']}, pretrained and frozen (weights `{made['pretrained']}`, sha256 "
        f"{made['pretrained_sha256']}), with a {made['head']} head (K = {manifest.num_heads}, τ = {manifest.tau:g}, "
        f"γ = {manifest.gamma:g}) trained on its features of {made['data']}: {made['epochs']} epochs, learning rate "
        f"{made['learning_rate']:g}, weight decay {made['weight_decay']:g}, seed {made['seed']}, on "
        f"{made['hardware']}; features {made['feature_seconds']} s, heads {made['training_seconds']} s. Mean feature: "
        f"{made['mean_feature']}. {made['data_note']}. Commit {made['commit']}, {made['date']}.",
        f"```sh\nuv run --group train --group backbones {made['command']}\n```",
    ]


def _training(manifest: Manifest) -> list[str]:
    made = manifest.provenance
    note = f" Data: {made['data_note']}." if made.get("data_note") else ""
    if start := made.get("started_from"):
        note = f" Started from the weights in `{start['file']}` (sha256 {start['sha256']}).{note}"
    return [
        f"{made['network']} with a {made['head']} head (K = {manifest.num_heads}, τ = {manifest.tau:g}, "
        f"γ = {manifest.gamma:g}), recipe `{made['recipe']}`, {made['epochs']} epochs, seed {made['seed']}, imbalance "
        f"ratio {made['imbalance_ratio'] or 'of the data'}, {made['precision']}, {made['training_seconds'] / 60:.0f} "
        f"minutes of training on: {made['hardware']}. Weights: {made['weights']}; mean feature: "
        f"{made['mean_feature']}. Commit {made['commit']}, {made['date']}.{note}",
        f"```sh\nuv run --group train {made['command']}\n```",
    ]


def _import(manifest: Manifest) -> list[str]:
    made = manifest.provenance
    return [
        f"Trained by {made['imported_from']} and imported from its checkpoint `{made['file']}` (sha256 "
        f"{made['file_sha256']}): {made['network']} with a {made['head']} head (K = {manifest.num_heads}, "
        f"τ = {manifest.tau:g}, γ = {manifest.gamma:g}). Weights: {made['weights']}; mean feature: "
        f"{made['mean_feature']}; pictures: {made['pictures']}. Commit {made['commit']}, {made['date']}.",
        f"```sh\nuv run --group train {made['command']}\n```",
    ]


def _again(manifest: Manifest) -> list[str]:
    if not manifest.metrics:
        return []
    arguments = manifest.metrics.get("arguments") or f"--data {manifest.metrics['data'].split(',')[0]}"
    place = manifest.provenance.get("place") or f"models/shipped/{manifest.name}/{manifest.version}"
    return [
        "To reproduce the figures above from the bundle's own ONNX graph, run",
        f"```sh\nuv run --group train python -m training evaluate {place} {arguments}\n```",
    ]


def _limits(manifest: Manifest) -> str:
    limits = f"{_training_pictures(manifest)}; not for decisions about people."
    if not manifest.metrics:
        return (
            f"{limits} An α in the table above that was not tuned may be far from the best one: choose α on your own "
            "pictures with `python -m training tune`."
        )
    points = manifest.operating_points
    chosen_on_test = [f"`{name}`" for name, point in points.items() if manifest.metrics["data"] in point.chosen_by]
    return (
        f"{limits} α was chosen for classes that are equally frequent; if your traffic differs, choose it again "
        f"({' and '.join(chosen_on_test) or 'no point'} used the test labels above, `label_free` used none)."
    )


def _training_pictures(manifest: Manifest) -> str:
    if "pretrained" in manifest.provenance:
        return "The backbone was trained on other pictures, not on these"
    if "imported_from" in manifest.provenance:
        return "A network from research code"
    if manifest.provenance.get("imbalance_ratio") is None:
        return "Made for pictures like those it was trained on, named above"
    return "Trained on the small pictures of a benchmark"


def is_generated(card: bytes, manifest: Manifest) -> bool:
    """Return whether a README.md is, byte for byte, what `model_card` writes for this manifest, or wrote up to 0.5."""
    try:
        text = model_card(manifest)
    except (AttributeError, KeyError, TypeError, ValueError):  # a bundle made elsewhere lacks what the card shows
        return False
    return card in {text.encode(), _in_earlier_wording(text).encode()}


def _in_earlier_wording(text: str) -> str:
    for now, earlier in _EARLIER_WORDING:
        text = text.replace(now, earlier)
    return text


def _protocol_table(protocol: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| | " + " | ".join(name.replace("_", "-") for name in protocol) + " |",
        "|---" * (len(protocol) + 1) + "|",
    ]
    lines.append("| α | " + " | ".join(f"{figures['alpha']:.3f}" for figures in protocol.values()) + " |")
    for name in FIGURES:
        values = (figures[name] for figures in protocol.values())
        lines.append(
            f"| {name.replace('_', ' ')} | " + " | ".join("–" if v is None else f"{100 * v:.2f}" for v in values) + " |"
        )
    return "\n".join(lines)


def _exempt(manifest: Manifest) -> list[str]:
    if manifest.exempt_class is None:
        return []
    name = _cell(manifest.classes[manifest.exempt_class].name)
    return [
        f"The class `{name}` is exempt: it keeps its probability at α = 0 for every α, and the other classes share the "
        "rest. The figures above cover all images and classes, as they are served; α was chosen among the other "
        "classes, so hindsight need not be the best α overall."
    ]


def _operating_points(manifest: Manifest) -> str:
    rows = [
        f"| `{name}` | {point.alpha:.3f} | {_cell(point.chosen_by)} |"
        for name, point in manifest.operating_points.items()
    ]
    return "\n".join(["| name | α | how it was chosen |", "|---|---|---|", *rows])


def _cell(text: str) -> str:
    """Return the text as one table cell, even if a data set's name contains line breaks or bars."""
    return " ".join(text.split()).replace("|", "\\|")
