"""The model card: what the model is for, how good it is, how it was made, in Markdown, from the manifest alone."""

from collections import Counter
from typing import Any

from models.manifest import Manifest

__all__ = ["is_generated", "model_card"]

SHOWN = ("overall", "many", "medium", "few", "balanced", "harmonic", "worst_class", "macro_f1", "ece")


def model_card(manifest: Manifest) -> str:
    """Return the bundle's README.md."""
    counts = [info.training_count for info in manifest.classes]
    groups = Counter(info.group for info in manifest.classes)
    size = f"{manifest.input.width}×{manifest.input.height}"
    sections = [
        f"# {manifest.name}, version {manifest.version}",
        f"An image classifier for {len(counts)} classes, trained on a long tail ({max(counts):,} images of the most "
        f"frequent class, {min(counts):,} of the rarest), for {size} pictures. Each request may choose α: 0 is the "
        "plain classifier, larger values take out more of the learnt preference for frequent classes.",
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
    """How it came to be: imported, fitted on a frozen backbone, or trained."""
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
        "The figures above are had again, from the bundle's own ONNX graph, with",
        f"```sh\nuv run --group train python -m training evaluate {place} {arguments}\n```",
    ]


def _limits(manifest: Manifest) -> str:
    pictures = "Trained on small pictures of a benchmark; not for decisions about people."
    if manifest.provenance.get("imbalance_ratio") is None:
        pictures = (
            "Trained on the pictures named above, and good for pictures like them; not for decisions about people."
        )
    if "imported_from" in manifest.provenance:
        pictures = "A network of research code; not for decisions about people."
    if "pretrained" in manifest.provenance:
        pictures = "A backbone that was trained on other pictures, and not on these; not for decisions about people."
    if not manifest.metrics:
        return (
            f"{pictures} An α that was not tuned, as the table above says, may be far from the best one: choose it on "
            "your own pictures with `python -m training tune`."
        )
    points = manifest.operating_points
    on_test = [f"`{name}`" for name, point in points.items() if manifest.metrics["data"] in point.chosen_by]
    return (
        f"{pictures} α was chosen for classes that are equally frequent; where traffic is not, choose it again "
        f"({' and '.join(on_test) or 'no point'} used the test labels above, `label_free` used none)."
    )


def is_generated(card: bytes, manifest: Manifest) -> bool:
    """Say whether a README.md is what `model_card` writes for this manifest, to the byte."""
    try:
        return card == model_card(manifest).encode()
    except (AttributeError, KeyError, TypeError, ValueError):  # a bundle of another origin lacks what the card shows
        return False


def _protocol_table(protocol: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| | " + " | ".join(name.replace("_", "-") for name in protocol) + " |",
        "|---" * (len(protocol) + 1) + "|",
    ]
    lines.append("| α | " + " | ".join(f"{figures['alpha']:.3f}" for figures in protocol.values()) + " |")
    for name in SHOWN:
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
        f"The class `{name}` is exempt: it keeps its probability of α = 0 at every α, and the others share the rest. "
        "The figures above are of all images and classes, as they are served; α was chosen among the other classes, so "
        "hindsight need not be the best of all α."
    ]


def _operating_points(manifest: Manifest) -> str:
    rows = [
        f"| `{name}` | {point.alpha:.3f} | {_cell(point.chosen_by)} |"
        for name, point in manifest.operating_points.items()
    ]
    return "\n".join(["| name | α | how it was chosen |", "|---|---|---|", *rows])


def _cell(text: str) -> str:
    """Keep a table's cell one cell, whatever a data set is called."""
    return " ".join(text.split()).replace("|", "\\|")
