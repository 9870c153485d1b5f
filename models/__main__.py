"""`python -m models check DIR [DIR...]`: describe each bundle, or say in one sentence why it is refused.

DIR is a bundle (NAME/VERSION), a model (NAME) or a folder of models. Exit code 0 if every bundle is valid, else 2.
"""

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.bundle import Bundle, load_bundle
from models.errors import BundleError
from models.manifest import Manifest
from models.repository import MANIFEST, find_bundles, is_broken_link

__all__ = ["command_line", "describe", "main"]

PROTOCOL_COLUMNS = (
    *("alpha", "overall", "balanced", "many", "medium", "few", "worst_class"),
    *("harmonic", "geometric", "macro_f1", "ece"),
)


def command_line() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m models", description="Inspect bundles: models on disk.")
    commands = parser.add_subparsers(required=True)
    check = commands.add_parser("check", help="describe bundles, or say why one is refused (exit code 2)")
    check.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a bundle, or a folder that holds bundles")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    folders: list[Path] = command_line().parse_args(arguments).folders
    refused = 0
    for folder in folders:
        for found in _checked(folder):
            if isinstance(found, Bundle):
                print(describe(found), end="\n\n")
            else:
                print(found, file=sys.stderr)
                refused += 1
    return 2 if refused else 0


def describe(bundle: Bundle) -> str:
    """Return what `check` prints about a bundle: one block of text for a person."""
    manifest = bundle.manifest
    recipe = manifest.input
    exempt = "none" if manifest.exempt_class is None else manifest.classes[manifest.exempt_class].name
    lines = [
        f"{manifest.name}/{manifest.version}: {manifest.task}, format {manifest.format_version}, in {bundle.place}",
        f"  input    shorter side to {recipe.resize} px, centre crop {recipe.height} x {recipe.width} px (H x W); "
        f"mean {_numbers(recipe.mean)}, std {_numbers(recipe.std)} in the graph",
        f"  head     K = {manifest.num_heads} heads, tau = {manifest.tau:g}, gamma = {manifest.gamma:g}, "
        f"D = {len(bundle.mean_feature)} features, exempt class: {exempt}",
        f"  classes  {_groups(manifest)}",
        "  operating points",
    ]
    width = max(len(name) for name in manifest.operating_points)
    for name, point in manifest.operating_points.items():
        lines.append(f"    {name:{width}}  alpha {point.alpha:<8.4g}  {point.chosen_by}")
    lines += _metrics(manifest.metrics)
    lines.append("  provenance")
    lines += [f"    {key}: {value}" for key, value in manifest.provenance.items()]
    lines.append(f"  sha256 of {', '.join(manifest.sha256)}: verified")
    return "\n".join(lines)


def _checked(folder: Path) -> Iterator[Bundle | BundleError]:
    """Load every bundle in `folder`, whether or not others are refused."""
    try:
        paths = _bundles_in(folder)
    except BundleError as error:
        yield error
        return
    for path in paths:
        try:
            yield load_bundle(path)
        except BundleError as error:
            yield error


def _bundles_in(folder: Path) -> list[Path]:
    """Return the folder if it is a bundle, else the versions of a model, else every bundle in a folder of models."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")] if folder.is_dir() else []
    inner = [entry for entry in entries if entry.is_dir() or is_broken_link(entry)]
    if not inner or folder / MANIFEST in entries:
        return [folder]
    if all(entry.name.isdecimal() for entry in inner):
        return sorted(inner, key=lambda entry: int(entry.name))
    return find_bundles(folder)


def _groups(manifest: Manifest) -> str:
    counts = [info.training_count for info in manifest.classes]
    groups = Counter(info.group for info in manifest.classes)
    shares = ", ".join(f"{groups[group]} {group}-shot" for group in ("many", "medium", "few"))
    return (
        f"{len(counts)}: {shares} (over 100, 20 to 100, under 20 training images); "
        f"{sum(counts)} training images, {min(counts)} to {max(counts)} a class"
    )


def _metrics(metrics: dict[str, Any]) -> list[str]:
    """Return the evaluation protocol's table, if training wrote one, then all other metrics."""
    protocol = metrics.get("protocol")
    lines = ["  metrics" if metrics else "  metrics  none"]
    if isinstance(protocol, dict) and all(isinstance(row, dict) for row in protocol.values()):
        lines.append("    " + " " * 13 + "".join(f"{column:>12}" for column in PROTOCOL_COLUMNS))
        for name, row in protocol.items():
            cells = (_cell(column, row.get(column)) for column in PROTOCOL_COLUMNS)
            lines.append(f"    {name:13}" + "".join(f"{cell:>12}" for cell in cells))
    lines += [f"    {key}: {_summary(key, value)}" for key, value in metrics.items() if key != "protocol"]
    return lines


def _summary(key: str, value: Any) -> Any:
    """Shorten the two long metrics to a line; show a value of an unexpected form unchanged."""
    try:
        if key == "curve":
            alphas = value["alphas"]
            figures = value["figures"]
            return f"{', '.join(figures)} at {len(alphas)} alphas from {alphas[0]:g} to {alphas[-1]:g}"
        if key == "calibration":
            bias = value["bias"]
            spread = f"{min(bias):.4g} to {max(bias):.4g}"
            return f"temperature {value['temperature']:.4g}, bias of {len(bias)} classes {spread}, on {value['data']}"
    except (KeyError, TypeError, ValueError, IndexError):
        return value
    return value


def _cell(column: str, value: object) -> str:
    """Return accuracies in percent, alpha unchanged, and "-" for a missing value, as for a group without classes."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-"
    return f"{value:.4g}" if column == "alpha" else f"{100 * value:.2f}%"


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `| head` ends the command quietly
    sys.exit(main())
