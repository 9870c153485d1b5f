"""manifest.json: strict in what it takes, and every refusal names the field."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from models.errors import BundleVersionError, ManifestError
from models.manifest import Manifest, group_of
from tests.tiny_bundle import TinyModel

Tree = dict[str, Any]
GOOD = TinyModel().manifest()


def tree() -> Tree:
    parsed: Tree = json.loads(GOOD.to_json())
    return parsed


def change(*path: str | int, to: Any) -> Callable[[Tree], None]:
    """Return a function that sets one value of a tree."""

    def apply(node: Any) -> None:
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = to

    return apply


def drop(*path: str | int) -> Callable[[Tree], None]:
    """Return a function that removes one key of a tree."""

    def apply(node: Any) -> None:
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]

    return apply


def test_a_manifest_survives_the_round_trip() -> None:
    assert Manifest.from_json(GOOD.to_json()) == GOOD
    assert Manifest.from_json(GOOD.to_json().encode()) == GOOD
    assert Manifest.from_json(GOOD.to_json()).to_json() == GOOD.to_json()


def test_names_may_be_in_any_script() -> None:
    named = dataclasses.replace(GOOD.classes[0], name="ねこ · Löwe")
    manifest = dataclasses.replace(GOOD, classes=(named, *GOOD.classes[1:]))
    assert Manifest.from_json(manifest.to_json().encode()).classes[0].name == "ねこ · Löwe"


def test_groups_are_cut_at_twenty_and_a_hundred() -> None:
    assert [group_of(n) for n in (0, 19, 20, 100, 101, 10**9)] == ["few", "few", "medium", "medium", "many", "many"]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Manifest)])
def test_every_key_is_required(name: str) -> None:
    broken = tree()
    del broken[name]
    with pytest.raises(ManifestError, match=f"manifest.json: lacks the key {name}$"):
        Manifest.from_json(json.dumps(broken))


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (change("colour", to=1), "manifest.json: has an unknown key 'colour'"),
        (change("input", "colour", to=1), "manifest.json: input: has an unknown key 'colour'"),
        (drop("input", "resize"), "manifest.json: input: lacks the key resize"),
        (drop("classes", 2, "name"), "manifest.json: classes[2]: lacks the key name"),
        (change("format_version", to="1"), 'format_version must be an integer, not "1"'),
        (change("format_version", to=True), "format_version must be an integer, not true"),
        (change("name", to="Tiny"), "name is 'Tiny'; it must match [a-z0-9][a-z0-9._-]{0,63}"),
        (change("name", to="../x"), "name is '../x'; it must match"),
        (change("name", to="tiny\n"), "name is 'tiny\\n'; it must match"),
        (change("name", to="a" * 65), "it must match"),
        (change("version", to=0), "version is 0; it must be a positive integer"),
        (change("version", to=1.0), "version must be an integer, not 1.0"),
        (change("task", to="detection"), "task must be one of 'classification', not \"detection\""),
        (change("task", to=[]), "task must be one of 'classification', not []"),
        (change("classes", to={}), "classes must be a list, not {}"),
        (change("classes", to=[]), "classes is []; a classifier has at least two"),
        (change("classes", 1, to="cat"), 'classes[1] must be an object, not "cat"'),
        (change("classes", 1, "name", to="class 0"), "classes[1].name is 'class 0'; classes[0] has that name already"),
        (change("classes", 1, "name", to=" "), "classes[1].name is ' '; it must be 1 to 200 printable characters"),
        (change("classes", 1, "name", to="a\tb"), "classes[1].name is 'a\\tb'; it must be 1 to 200 printable"),
        (change("classes", 1, "training_count", to=-1), "classes[1].training_count is -1; it must be a number of"),
        (change("classes", 1, "training_count", to=True), "classes[1].training_count must be an integer, not true"),
        (change("classes", 0, "group", to="few"), "classes[0].group is 'few'; 500 training images make it 'many'"),
        (change("classes", 0, "group", to="most"), "classes[0].group must be one of 'many', 'medium', 'few', not"),
        (change("input", "height", to=0), "input.height is 0; it must be 1 to 8192 pixels"),
        (change("input", "width", to=10**9), "input.width is 1000000000; it must be 1 to 8192 pixels"),
        (change("input", "resize", to=7), "input.resize is 7; a 8 x 8 crop does not fit"),
        (change("input", "mean", to=[0.5, 0.5]), "input.mean must have 3 entries, not 2"),
        (change("input", "std", to=[1, 1, 0]), "input.std is (1.0, 1.0, 0.0); it must be finite and above 0"),
        (change("num_heads", to=0), "num_heads is 0; it must be at least 1"),
        (change("tau", to=0), "tau is 0.0; it must be a finite number above 0"),
        (change("tau", to=None), "tau must be a number, not null"),
        (change("gamma", to=-0.1), "gamma is -0.1; it must be a finite number, 0 or above"),
        (change("exempt_class", to=5), "exempt_class is 5; it must be null or an index below 5"),
        (change("exempt_class", to="x"), 'exempt_class must be an integer or null, not "x"'),
        (drop("operating_points", "tail"), "operating_points lacks tail"),
        (change("operating_points", "head", "alpha", to=0.5), "operating_points.head.alpha is 0.5; head is the plain"),
        (change("operating_points", "tail", "alpha", to=2e6), "operating_points.tail.alpha is 2000000.0; it must be a"),
        (change("operating_points", "Big", to={"alpha": 1, "chosen_by": ""}), "operating_points.Big: the name must"),
        (change("operating_points", "1e3", to={"alpha": 1, "chosen_by": ""}), "operating_points.1e3: the name must"),
        (change("operating_points", "tail", to=1.5), "operating_points.tail must be an object, not 1.5"),
        (change("metrics", to=[]), "metrics must be an object, not []"),
        (change("provenance", "recipe", to="\x1b[2J"), "provenance.recipe holds a character that cannot be printed"),
        (change("provenance", "seed", to=2**70), "provenance.seed is not a finite number"),
        (change("sha256", "model.onnx", to="0" * 63), "sha256 of model.onnx is not 64 lower-case hexadecimal digits"),
        (change("sha256", "model.onnx", to=None), "sha256.model.onnx must be a string, not null"),
    ],
)
def test_a_broken_rule_is_named(edit: Callable[[Tree], None], sentence: str) -> None:
    broken = tree()
    edit(broken)
    with pytest.raises(ManifestError) as caught:
        Manifest.from_json(json.dumps(broken))
    assert str(caught.value).startswith("manifest.json")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_no_json(text: str) -> None:
    with pytest.raises(ManifestError, match=f"not JSON: {text} is not a JSON number"):
        Manifest.from_json(GOOD.to_json().replace('"tau": 16.0', f'"tau": {text}'))


@pytest.mark.parametrize("field", ["tau", "ece"])
def test_a_number_beyond_floats_is_not_finite(field: str) -> None:
    text = GOOD.to_json().replace('"tau": 16.0', '"tau": 1e999').replace('"ece": 0.125', '"ece": -1e999')
    assert field in text
    with pytest.raises(ManifestError, match="is not a finite number"):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "manifest.json is not JSON: "),
        (b"\xff\xfe{}", "manifest.json is not JSON: "),
        (b"{", "manifest.json is not JSON: "),
        (b"[1]", "manifest.json is not a JSON object"),
        (b'{"name": 1, "name": 2}', "manifest.json is not JSON: the key 'name' is there twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", "manifest.json is not JSON: "),
        (b'{"a": ' * 20 + b"1" + b"}" * 20, "nested more than 16 deep"),
        (b'{"a": ' * 100_000, "manifest.json is nested more than 16 deep"),
        (b'{"a": "' + b" " * 2**24 + b'"}', "manifest.json is larger than 16777216 bytes, the maximum"),
        (b'{"\\ud800": 1}', "holds a character that cannot be printed"),
    ],
)
def test_what_is_no_manifest_is_refused(text: bytes, sentence: str) -> None:
    with pytest.raises(ManifestError) as caught:
        Manifest.from_json(text)
    assert sentence in str(caught.value)


def test_a_later_format_is_told_apart_from_a_broken_one() -> None:
    with pytest.raises(BundleVersionError, match="format_version is 2 but this code reads 1"):
        Manifest.from_json('{"format_version": 2, "everything": "else"}')


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tau": float("nan")}, "tau is nan"),
        ({"metrics": {"x": float("inf")}}, "metrics.x is not a finite number"),
        ({"metrics": {"x": object()}}, "metrics.x is a object, which JSON has no type for"),
        ({"metrics": {1: 2}}, "metrics holds 1, which is not a string"),
        ({"format_version": 2}, "format_version is 2; it must be 1"),
    ],
)
def test_a_manifest_is_checked_where_it_is_made(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ManifestError, match=sentence):
        dataclasses.replace(GOOD, **changes)
