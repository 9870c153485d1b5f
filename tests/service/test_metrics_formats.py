"""What /metrics answers: the format that a client prefers, and figures about the server itself."""

import os
import platform
import re
import signal
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from models.bundle import Bundle
from service.metrics_format import OPENMETRICS, TEXT, MetricsFormat, choose_format
from service.version import VERSION
from tests.service.conftest import CLASSIFY, Running, picture
from tests.service.server.test_process import PNG, server

OPEN = "application/openmetrics-text"
PROMETHEUS_2 = f"{OPEN};version=1.0.0,{OPEN};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PROMETHEUS_3 = (
    f"{OPEN};version=1.0.0;escaping=allow-utf-8;q=0.6,{OPEN};version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/html,*/*;q=0.8", TEXT),
        ("application/json", TEXT),
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        (f"{PROTOBUF},{PROMETHEUS_3}", OPENMETRICS),
        (OPEN, OPENMETRICS),
        (f"{OPEN}; version = 1.0.0", OPENMETRICS),
        (f'{OPEN}; version="1.0.0"; charset=utf-8', OPENMETRICS),
        ("Application/OpenMetrics-Text;Version=1.0.0", OPENMETRICS),
        (f"{OPEN},text/plain", OPENMETRICS),
        (f"text/plain;version=0.0.4,{OPEN}", OPENMETRICS),
        (f"{OPEN};version=0.0.1", TEXT),
        (f"{OPEN};version=2.0.0", TEXT),
        (f"{OPEN};version=abc", TEXT),
        (f"{OPEN};q=0", TEXT),
        (f"{OPEN};q=x", TEXT),
        (f"text/plain;version=0.0.4,{OPEN};version=1.0.0;q=0.9", TEXT),
        (f"{OPEN}x", TEXT),
        (";;;,,/", TEXT),
        (f"{OPEN};q=nan", TEXT),
    ],
)
def test_the_format_is_the_one_that_a_client_prefers(accept: str, expected: MetricsFormat) -> None:
    assert choose_format(accept) is expected


@pytest.mark.anyio
async def test_both_formats_have_the_same_series_and_none_says_when_it_was_created(running: Running) -> None:
    async with running() as service:
        await service.classify(picture(1))
        open_answer = await service.client.get("/metrics", headers={"Accept": PROMETHEUS_2})
        text_answer = await service.client.get("/metrics", headers={"Accept": "text/plain"})
        unnamed = await service.client.get("/metrics", headers=[("Accept", "text/plain;q=0.1"), ("Accept", OPEN)])
    assert open_answer.headers["content-type"] == f"{OPEN}; version=1.0.0; charset=utf-8"
    assert text_answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert unnamed.headers["content-type"] == open_answer.headers["content-type"]
    assert (open_answer.headers["vary"], text_answer.headers["vary"]) == ("Accept", "Accept")
    assert open_answer.text.endswith("# EOF\n")
    as_open = {
        sample.name
        for family in openmetrics.text_string_to_metric_families(open_answer.text)
        for sample in family.samples
    }
    as_text = {sample.name for family in text_string_to_metric_families(text_answer.text) for sample in family.samples}
    assert as_open == as_text
    assert not [name for name in as_open if name.endswith("_created")]
    assert {"longtail_images_total", "process_cpu_seconds_total", "longtail_build_info"} <= as_open


@pytest.mark.anyio
async def test_the_build_and_the_process_are_described(running: Running) -> None:
    async with running() as service:
        text = (await service.client.get("/metrics")).text
    labels = dict(re.findall(r'(\w+)="([^"]*)"', re.search(r"^longtail_build_info\{.+} 1\.0$", text, re.MULTILINE)[0]))
    assert labels.keys() == {"version", "python", "engine", "engine_version", "device", "precision", "pillow"}
    assert (labels["version"], labels["python"]) == (VERSION, platform.python_version())
    assert (labels["engine"], labels["device"], labels["precision"]) == ("onnxruntime", "cpu", "float32")
    assert re.fullmatch(r"\d+\.\d+.*", labels["engine_version"])
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert _value(text, "process_resident_memory_bytes") == pytest.approx(resident, rel=0.2)
    assert _value(text, "process_max_fds") > _value(text, "process_open_fds") > 0


@pytest.mark.slow
def test_several_processes_are_added_up_and_a_killed_one_leaves_its_processor_time(tiny_bundle: Bundle) -> None:
    with server(tiny_bundle, "--workers", "2") as (process, url):
        for number in range(1000):  # until both have started
            text = _classify_and_read(url, number)
            workers = _workers(process.pid)
            pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (process.pid, *workers)]
            expected = sum(pages) * os.sysconf("SC_PAGE_SIZE")
            if len(workers) == 2 and _value(text, "process_resident_memory_bytes") == pytest.approx(expected, rel=0.05):
                break
        else:
            pytest.fail("the memory is not that of the supervisor and both workers")
        seconds = [_value(text, "process_cpu_seconds_total")]
        os.kill(workers[0], signal.SIGKILL)
        for number in range(1000):
            seconds.append(_value(_classify_and_read(url, 1000 + number), "process_cpu_seconds_total"))
            if len(now := _workers(process.pid)) == 2 and workers[0] not in now:
                break
        text = _classify_and_read(url, 3000)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    assert seconds == sorted(seconds)
    assert seconds[0] > 0.5
    families = list(openmetrics.text_string_to_metric_families(text))
    assert {"process_cpu_seconds", "longtail_build", "longtail_images"} <= {family.name for family in families}


def _workers(supervisor: int) -> list[int]:
    """Return the server processes, without Python's own helper process."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _classify_and_read(url: str, number: int) -> str:
    with httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=60, headers={"Accept": OPEN}) as client:
        for _ in range(20):
            try:
                assert client.post(url + CLASSIFY, content=picture(number), headers=PNG).status_code == 200
                return client.get(f"{url}/metrics").text
            except httpx.TransportError:  # the killed process had accepted the connection
                continue
    pytest.fail("no process answers")


def _value(text: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])
