"""manifest.json as frozen dataclasses, with the rules that its fields must keep.

A server acts on these fields for years, so every rule is checked here once, both on reading and on construction, and
the rest of the code can trust them. docs/reference/bundle-format.md has the format.
"""

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from models import strict_json
from models.class_names import MAX_CLASS_NAME_LENGTH, is_class_name
from models.errors import BundleVersionError, ManifestError
from models.tde import MAX_ALPHA

__all__ = [
    "FORMAT_VERSION",
    "NAME_PATTERN",
    "REQUIRED_OPERATING_POINTS",
    "ClassInfo",
    "Group",
    "ImageRecipe",
    "Manifest",
    "OperatingPoint",
    "group_of",
]

FORMAT_VERSION = 1
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
REQUIRED_OPERATING_POINTS = ("head", "label_free", "balanced", "tail")
Group = Literal["many", "medium", "few"]

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_SIDE = 8192  # pixels; keeps one decoded image under 200 MB
_MAX_COUNT = 2**53  # training images of a class; exact in every JSON reader


def group_of(training_count: int) -> Group:
    """Return the class's group: "many" above 100 training images, "medium" for 20 to 100, "few" below 20.

    >>> [group_of(count) for count in (101, 100, 20, 19)]
    ['many', 'medium', 'medium', 'few']
    """
    if training_count > 100:
        return "many"
    return "medium" if training_count >= 20 else "few"


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """One class: its name, its number of training images, and the group that number puts it in."""

    name: str
    training_count: int
    group: Group


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """How a picture becomes the graph's input.

    Shorter side to `resize` px, centre crop to `height` x `width` px. `mean` and `std` (RGB, of pixel/255) are
    information: the normalisation is inside the graph.
    """

    height: int
    width: int
    resize: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A named alpha and, in words, how it was chosen."""

    alpha: float
    chosen_by: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything manifest.json says; the fields are its keys. Symbols: docs/reference/bundle-format.md.

    Raises:
        ManifestError: on construction, when a rule is broken; the sentence names the field.

    """

    format_version: int
    name: str
    version: int
    task: Literal["classification"]
    classes: tuple[ClassInfo, ...]
    input: ImageRecipe
    num_heads: int
    tau: float
    gamma: float
    exempt_class: int | None
    operating_points: dict[str, OperatingPoint]
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    sha256: dict[str, str]

    def __post_init__(self) -> None:
        _check_scalars(self)
        _check_classes(self.classes)
        _check_input(self.input)
        _check_operating_points(self.operating_points)
        strict_json.check_tree(self.metrics, "metrics")
        strict_json.check_tree(self.provenance, "provenance")
        for name, digest in self.sha256.items():
            if not _FILE_NAME.fullmatch(name) or name == "manifest.json":
                raise ManifestError(f"manifest.json: sha256 key {name!r} is not the plain name of another file in here")
            if not _SHA256.fullmatch(digest):
                raise ManifestError(f"manifest.json: sha256 of {name} is not 64 lower-case hexadecimal digits")

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Read a manifest, refusing whatever the format does not name.

        Raises:
            ManifestError: not JSON, a key missing, unknown or twice, a wrong type, a rule broken.
            BundleVersionError: a format version other than this code's.

        """
        tree = strict_json.parse(text)
        version = tree.get("format_version")
        if type(version) is int and version != FORMAT_VERSION:
            raise BundleVersionError(
                f"manifest.json: format_version is {version} but this code reads {FORMAT_VERSION}; "
                "export the model again, or update Longtail"
            )
        manifest: Manifest = strict_json.build(cls, tree, "")
        return manifest

    def to_json(self) -> str:
        """Return the manifest as UTF-8 JSON text, keys in the order of the fields.

        Raises:
            ManifestError: metrics or provenance hold something JSON has no type for.

        """
        try:
            return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise ManifestError(f"manifest.json cannot be written: {error}") from error


def _refuse(field: str, value: object, wanted: str) -> ManifestError:
    return ManifestError(f"manifest.json: {field} is {value!r}; {wanted}")


def _check_scalars(manifest: Manifest) -> None:
    if manifest.format_version != FORMAT_VERSION:
        raise _refuse("format_version", manifest.format_version, f"it must be {FORMAT_VERSION}")
    if not NAME_PATTERN.fullmatch(manifest.name):
        raise _refuse("name", manifest.name, "it must match [a-z0-9][a-z0-9._-]{0,63}")
    if manifest.version < 1:
        raise _refuse("version", manifest.version, "it must be a positive integer")
    if manifest.task != "classification":
        raise _refuse("task", manifest.task, "only 'classification' is known")
    if manifest.num_heads < 1:
        raise _refuse("num_heads", manifest.num_heads, "it must be at least 1")
    if not (math.isfinite(manifest.tau) and manifest.tau > 0):
        raise _refuse("tau", manifest.tau, "it must be a finite number above 0")
    if not (math.isfinite(manifest.gamma) and manifest.gamma >= 0):
        raise _refuse("gamma", manifest.gamma, "it must be a finite number, 0 or above")
    exempt = manifest.exempt_class
    num_classes = len(manifest.classes)
    if exempt is not None and not 0 <= exempt < num_classes:
        raise _refuse("exempt_class", exempt, f"it must be null or an index below {num_classes}")


def _check_classes(classes: tuple[ClassInfo, ...]) -> None:
    if len(classes) < 2:
        raise _refuse("classes", [info.name for info in classes], "a classifier has at least two")
    first_index: dict[str, int] = {}
    for index, info in enumerate(classes):
        field = f"classes[{index}]"
        if not is_class_name(info.name):
            raise _refuse(f"{field}.name", info.name, f"it must be 1 to {MAX_CLASS_NAME_LENGTH} printable characters")
        if info.name in first_index:
            raise _refuse(f"{field}.name", info.name, f"classes[{first_index[info.name]}] has that name already")
        first_index[info.name] = index
        if not 0 <= info.training_count <= _MAX_COUNT:
            raise _refuse(f"{field}.training_count", info.training_count, "it must be a number of images")
        group = group_of(info.training_count)
        if info.group != group:
            raise _refuse(f"{field}.group", info.group, f"{info.training_count} training images make it {group!r}")


def _check_input(recipe: ImageRecipe) -> None:
    for side in ("height", "width", "resize"):
        pixels = getattr(recipe, side)
        if not 1 <= pixels <= _MAX_SIDE:
            raise _refuse(f"input.{side}", pixels, f"it must be 1 to {_MAX_SIDE} pixels")
    if recipe.resize < max(recipe.height, recipe.width):
        raise _refuse(
            "input.resize", recipe.resize, f"a {recipe.height} x {recipe.width} crop does not fit; make it larger"
        )
    for field in ("mean", "std"):
        numbers = getattr(recipe, field)
        if not all(math.isfinite(number) for number in numbers) or (field == "std" and min(numbers) <= 0):
            raise _refuse(f"input.{field}", numbers, "it must be finite" + (" and above 0" if field == "std" else ""))


def _check_operating_points(points: dict[str, OperatingPoint]) -> None:
    missing = [name for name in REQUIRED_OPERATING_POINTS if name not in points]
    if missing:
        raise ManifestError(f"manifest.json: operating_points lacks {', '.join(missing)}")
    for name, point in points.items():
        field = f"operating_points.{name}"
        if not NAME_PATTERN.fullmatch(name) or strict_json.is_number(name):
            raise ManifestError(f"manifest.json: {field}: the name must match [a-z0-9][a-z0-9._-]{{0,63}}, no number")
        if not abs(point.alpha) <= MAX_ALPHA:
            raise _refuse(
                f"{field}.alpha", point.alpha, f"it must be a number between -{MAX_ALPHA:g} and {MAX_ALPHA:g}"
            )
        strict_json.check_tree(point.chosen_by, f"{field}.chosen_by")
    if points["head"].alpha != 0:
        raise _refuse("operating_points.head.alpha", points["head"].alpha, "head is the plain classifier, alpha 0")
