"""With a read-only file system, several processes find a place for what they share, or a sentence says why not."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.server import shared_folder as module
from service.server.shared_folder import require_shared_folder, shared_folder
from service.settings import Settings, SettingsError
from tests.service.conftest import CLASSIFY, picture
from tests.service.server.test_process import PNG, ROOT, command, free_port

TEMPORARY = ("/", "/tmp", "/var/tmp")  # noqa: S108  they are made read-only


def test_a_temporary_folder_that_cannot_be_written_to_is_replaced_by_one_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp']")

    monkeypatch.setattr(module.tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(module, "MEMORY", str(tmp_path))
    with shared_folder() as folder:
        assert Path(folder).parent == tmp_path
        (Path(folder) / "file").touch()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(module, "MEMORY", str(tmp_path / "missing"))
    require_shared_folder(Settings(workers=1))
    with pytest.raises(
        SettingsError, match=r"No usable temporary directory.*missing: No such file.*--tmpfs /tmp.*TMPDIR"
    ):
        require_shared_folder(Settings(workers=2))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_read_only_file_system_is_enough_for_one_process_and_for_several(tiny_bundle: Bundle, workers: str) -> None:
    with _read_only(tiny_bundle, "--workers", workers) as (process, url):
        assert process.stderr is not None
        assert any("running on http" in line for line in process.stderr)
        with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=60) as client:
            assert client.post(url + CLASSIFY, content=picture(1), headers=PNG).status_code == 200
            assert "longtail_images_total" in client.get(f"{url}/metrics").text
            assert client.post(f"{url}/v2/repository/models/tiny/unload").status_code == 200
        process.terminate()
        process.stderr.read()
        assert process.wait(timeout=60) == 0


@pytest.mark.slow
def test_several_processes_without_any_place_end_with_a_sentence(tiny_bundle: Bundle) -> None:
    with _read_only(tiny_bundle, "--workers", "2", places=(*TEMPORARY, module.MEMORY)) as (process, _):
        _, log = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in log
    (line,) = [line for line in log.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: several server processes (--workers) share files, and no folder for temporary files")
    assert f"{module.MEMORY}: Read-only file system" in line
    assert "docker run --tmpfs /tmp" in line


@contextmanager
def _read_only(
    bundle: Bundle, *flags: str, places: tuple[str, ...] = TEMPORARY
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start a server in whose mount namespace places and the current folder are read-only."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("a read-only file system: NOT tested, mount namespaces need root")
    mounts = "".join(f"mount --bind {place} {place} && mount -o remount,bind,ro {place};" for place in (*places, ROOT))
    port = free_port()
    inside = ["unshare", "-m", "sh", "-ec", f'{mounts} cd {ROOT}; exec "$@"', "sh"]
    words = [*inside, *command(bundle, "--port", str(port), *flags)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()
