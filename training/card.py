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
    made = manifest.provenance
    size = f"{manifest.input.width}×{manifest.input.height}"
    data, metrics = manifest.metrics["data"], manifest.metrics
    ratio = made["imbalance_ratio"] or "of the data"
    on_test = [f"`{name}`" for name, point in manifest.operating_points.items() if data in point.chosen_by]
    sections = [
        f"# {manifest.name}, version {manifest.version}",
        f"An image classifier for {len(counts)} classes, trained on a long tail ({max(counts):,} images of the most "
        f"frequent class, {min(counts):,} of the rarest), for {size} pictures. Each request may choose α: 0 is the "
        "plain classifier, larger values take out more of the learnt preference for frequent classes.",
        "![Accuracy against α](curve.svg)",
        f"Accuracy on the {metrics['images']:,} images of {data}. *cross-fitted* is what to expect: α chosen on one "
        "half of the images, scored on the other, both ways. *hindsight* is the best α on the images it is scored on, "
        "an upper bound.",
        _protocol_table(metrics["protocol"]),
        f"Groups by training images: many (more than 100) {groups['many']} classes, medium (20 to 100) "
        f"{groups['medium']}, few (fewer than 20) {groups['few']}. Figures are percentages; ece is the expected "
        "calibration error, 15 bins.",
        "## Operating points",
        _operating_points(manifest),
        *_exempt(manifest),
        "## How it was made",
        f"{made['network']} with a {made['head']} head (K = {manifest.num_heads}, τ = {manifest.tau:g}, "
        f"γ = {manifest.gamma:g}), recipe `{made['recipe']}`, {made['epochs']} epochs, seed {made['seed']}, imbalance "
        f"ratio {ratio}, {made['precision']}, {made['training_seconds'] / 60:.0f} minutes of training on: "
        f"{made['hardware']}. Weights: {made['weights']}; mean feature: {made['mean_feature']}. "
        f"Commit {made['commit']}, {made['date']}." + (f" Data: {made['data_note']}." if made.get("data_note") else ""),
        f"```sh\nuv run --group train {made['command']}\n```",
        "The figures above come from the bundle's own ONNX graph and are had again with",
        f"```sh\nuv run --group train python -m training evaluate models/shipped/{manifest.name}/{manifest.version} "
        f"{metrics.get('arguments') or '--data ' + data.split(',')[0]}\n```",
        f"ONNX Runtime and torch differ by at most {made['onnx_torch_difference']:.1g} in a TDE logit, α from −1 to 8.",
        "## Limits",
        "Trained on small pictures of a benchmark; not for decisions about people. α was chosen for classes that are "
        f"equally frequent; where traffic is not, choose it again ({' and '.join(on_test) or 'no point'} used the test "
        "labels above, `label_free` used none).",
    ]
    return "\n\n".join(sections) + "\n"


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
