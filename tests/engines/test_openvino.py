"""The OpenVINO engine computes the same as numpy, and never in another precision than the requested one."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from engines import openvino as engine_module
from engines.base import DeviceError, EngineError
from engines.onnx import OnnxEngine
from engines.openvino import OpenVinoEngine, has_bfloat16
from models.bundle import Bundle, load_bundle
from service.catalog.loader import loader
from service.inference.batching import BatchPolicy
from service.inference.registry import ServedModel
from service.openinference.metadata import model_config, model_metadata
from service.settings import Settings, SettingsError
from tests.tiny_bundle import TinyModel

ROOT = Path(__file__).parents[2]
HAS_BFLOAT16 = has_bfloat16()
needs_bfloat16 = pytest.mark.skipif(not HAS_BFLOAT16, reason="needs a CPU with AVX512_BF16 or AMX")


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_float32_agrees_with_numpy(tiny_bundle: Bundle, threads: int, alone: bool) -> None:
    engine = OpenVinoEngine(tiny_bundle, "float32", threads=threads)
    for count in (1, 7, 32, 1):
        logits, head_cosine = engine.run(images(count), alone=alone)
        np.testing.assert_allclose(logits, TinyModel().logits(images(count)), atol=1e-4)
        np.testing.assert_allclose(head_cosine, TinyModel().head_cosine(images(count)), atol=1e-5)


@needs_bfloat16
def test_bfloat16_agrees_approximately(tiny_bundle: Bundle) -> None:
    engine = OpenVinoEngine(tiny_bundle, "bfloat16")
    logits, head_cosine = engine.run(images(32))
    assert engine.description.endswith("CPU, bfloat16")
    np.testing.assert_allclose(logits, TinyModel().logits(images(32)), atol=0.2)
    np.testing.assert_allclose(head_cosine, TinyModel().head_cosine(images(32)), atol=0.02)


def test_concurrent_callers_get_their_own_output(tiny_bundle: Bundle) -> None:
    engine = OpenVinoEngine(tiny_bundle, "float32", streams=2, threads=2)

    def run(seed: int) -> bool:
        batch = images(1 + seed % 5, seed)
        logits, _ = engine.run(batch, alone=seed % 7 == 0)
        return bool(np.allclose(logits, TinyModel().logits(batch), atol=1e-4))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(400)))


def test_an_output_is_not_overwritten_by_the_next_run(tiny_bundle: Bundle) -> None:
    engine = OpenVinoEngine(tiny_bundle, "float32")
    first, _ = engine.run(images(4, seed=1))
    before = first.copy()
    engine.run(images(4, seed=2))
    np.testing.assert_array_equal(first, before)


def test_engines_do_their_first_run_on_creation_one_at_a_time(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    monkeypatch.setattr(
        OpenVinoEngine, "run", lambda _, images: runs.append((images.shape, engine_module._first_run.locked()))
    )
    OpenVinoEngine(tiny_bundle, "float32")
    assert runs == [((1, 8, 8, 3), True)]


class OldCpu:
    """An OpenVINO core on a CPU without bfloat16, which would compute in float32 instead."""

    capabilities = ("FP32", "INT8")

    def get_property(self, *_: str) -> tuple[str, ...]:
        return self.capabilities

    def read_model(self, path: Path) -> Path:
        return path

    def compile_model(self, *_: Any) -> "OldCpu.Compiled":
        return self.Compiled()

    class Compiled:
        def get_property(self, _: str) -> Any:
            return openvino.Type.f32


def test_a_cpu_without_bfloat16_is_refused(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module.openvino, "Core", OldCpu)
    with pytest.raises(DeviceError, match=r"this CPU has no instructions for bfloat16.*leave --precision at float32"):
        OpenVinoEngine(tiny_bundle, "bfloat16")


def test_a_precision_other_than_the_requested_one_is_refused(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OldCpu, "capabilities", ("FP32", "BF16"))
    monkeypatch.setattr(engine_module.openvino, "Core", OldCpu)
    with pytest.raises(DeviceError, match="asked for bfloat16, OpenVINO came up with f32"):
        OpenVinoEngine(tiny_bundle, "bfloat16")


def test_without_openvino_the_message_says_what_to_install(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "openvino", None)
    with pytest.raises(DeviceError, match="bfloat16 needs OpenVINO, which is not installed: run `uv sync --group"):
        OpenVinoEngine(tiny_bundle, "bfloat16")


def test_an_unreadable_graph_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle = load_bundle(shutil.copytree(tiny_bundle.path, tmp_path / "tiny" / "1"))
    bundle.model_path.write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"bundle tiny/1: OpenVINO cannot run model\.onnx"):
        OpenVinoEngine(bundle, "float32")


def check_in_bfloat16(bundle: Bundle, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", "--check", "--precision", "bfloat16"]
    command += ["--models", str(bundle.path.parent.parent), "--database", f"sqlite:///{folder / 'x.db'}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@needs_bfloat16
def test_the_service_computes_in_bfloat16(tiny_bundle: Bundle, tmp_path: Path) -> None:
    done = check_in_bfloat16(tiny_bundle, tmp_path)
    assert "CPU, bfloat16" in done.stdout
    assert done.returncode == 0


@pytest.mark.skipif(HAS_BFLOAT16, reason="this CPU has bfloat16")
def test_the_service_does_not_start_on_a_cpu_without_bfloat16(tiny_bundle: Bundle, tmp_path: Path) -> None:
    done = check_in_bfloat16(tiny_bundle, tmp_path)
    assert "error: this CPU has no instructions for bfloat16" in done.stderr
    assert done.returncode == 2


def test_cuda_refuses_bfloat16() -> None:
    with pytest.raises(SettingsError, match=r"LONGTAIL_PRECISION .*device cuda computes in float32 only"):
        Settings.read({"LONGTAIL_DEVICE": "cuda", "LONGTAIL_PRECISION": "bfloat16"})


def test_a_models_metadata_name_its_runtime(tiny_bundle: Bundle) -> None:
    settings = Settings()
    served = ServedModel(tiny_bundle, OpenVinoEngine(tiny_bundle, "float32"), BatchPolicy(4))
    assert model_metadata(served, [1])["platform"] == "openvino"
    config = model_config(served, {}, settings)
    assert (config["platform"], config["backend"]) == ("", "openvino")


@needs_bfloat16
def test_the_loader_uses_openvino_for_bfloat16(tiny_bundle: Bundle) -> None:
    served = loader(Settings(precision="bfloat16", max_batch_images=4))(tiny_bundle.path)
    assert isinstance(served.engine, OpenVinoEngine)


def test_the_loader_uses_onnx_runtime_for_float32(tiny_bundle: Bundle) -> None:
    assert isinstance(loader(Settings(max_batch_images=4))(tiny_bundle.path).engine, OnnxEngine)
