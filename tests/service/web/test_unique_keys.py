"""A key that an object has twice is refused, and no other text."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import RequestError
from service.web.unique_keys import check_unique_keys

NAMES = st.sampled_from(["a", "b", ":", "a:b", '"', "\\"])
VALUES = st.recursive(st.none() | st.floats(0, 1) | NAMES, lambda of: st.lists(of) | st.dictionaries(NAMES, of))


@given(VALUES)
def test_an_object_with_each_key_once_passes(value: Any) -> None:
    text = orjson.dumps(value)
    check_unique_keys(text, orjson.loads(text), "the body")


@given(VALUES, NAMES, st.lists(VALUES, max_size=2), st.booleans())
def test_a_key_twice_is_found_wherever_it_is(value: Any, name: str, before: list[Any], in_object: bool) -> None:
    key = json.dumps(name)
    twice = f"{{{key}: {json.dumps(value)}, {key}: 1}}"
    text = f"[{', '.join([*map(json.dumps, before), twice])}]"
    if in_object:
        text = f'{{"x": {text}}}'
    with pytest.raises(RequestError, match=r"the body has the key .* twice; give it once"):
        check_unique_keys(text.encode(), orjson.loads(text), "the body")
