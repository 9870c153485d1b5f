"""An id is unique, ordered by time, and tells when it was given."""

import time
import uuid

import pytest

from service.result_ids import is_result_id, new_result_id, time_of
from tests.service.conftest import CLASSIFY, Running, picture


def test_ids_are_uuids_of_version_7_and_never_the_same() -> None:
    ids = [new_result_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert all(is_result_id(i) for i in ids)
    assert {(uuid.UUID(i).version, uuid.UUID(i).variant) for i in ids} == {(7, uuid.RFC_4122)}


def test_an_id_tells_when_it_was_given() -> None:
    before = time.time()
    first = new_result_id()
    assert before - 0.001 <= time_of(first) <= time.time()
    later = f"{int(first[:12], 16) + 1:012x}" + "0" * 20
    assert first < later
    assert time_of(later) > time_of(first)


@pytest.mark.parametrize("text", ["", "0", "a.png", "g" * 32, "0" * 32, new_result_id().upper() + "x", "٣" * 32])
def test_what_is_no_id_is_told_by_its_form(text: str) -> None:
    assert not is_result_id(text)


@pytest.mark.anyio
async def test_every_result_has_its_own_id_and_its_files_name(running: Running) -> None:
    async with running() as service:
        raw = [(await service.classify(picture(1))).json()["results"][0] for _ in range(2)]
        files = [("files", ("same.png", picture(1))), ("files", ("same.png", b"broken"))]
        form = (await service.client.post(CLASSIFY, files=files)).json()["results"]
    assert [result["name"] for result in (*raw, *form)] == [None, None, "same.png", "same.png"]
    ids = {result["id"] for result in (*raw, *form)}
    assert len(ids) == 4
    assert all(map(is_result_id, ids))
