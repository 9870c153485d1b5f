"""The ONNX engine on a CUDA device. Skipped without one, or without onnxruntime-gpu.

uv sync --no-default-groups --group gpu --group dev && uv run --no-sync pytest tests/gpu
"""

import numpy as np
import onnxruntime as ort
import pytest

from engines.onnx import OnnxEngine
from models.bundle import Bundle
from tests.tiny_bundle import TinyModel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in ort.get_available_providers(),
        reason="needs onnxruntime-gpu and a CUDA device (docs/how-to/gpu.md)",
    ),
]


def images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def test_the_cuda_engine_runs_on_cuda(tiny_bundle: Bundle) -> None:
    assert "CUDAExecutionProvider" in OnnxEngine(tiny_bundle, "cuda").description


def test_cuda_agrees_with_the_arithmetic(tiny_bundle: Bundle) -> None:
    logits, head_cosine = OnnxEngine(tiny_bundle, "cuda").run(images(32))
    np.testing.assert_allclose(logits, TinyModel().logits(images(32)), atol=5e-3)  # TF32 keeps 10 bits of a product
    np.testing.assert_allclose(head_cosine, TinyModel().head_cosine(images(32)), atol=5e-3)


def test_a_batch_of_one_equals_a_batch_of_many(tiny_bundle: Bundle) -> None:
    engine = OnnxEngine(tiny_bundle, "cuda")
    many, _ = engine.run(images(32))
    alone, _ = engine.run(images(32)[5:6])
    np.testing.assert_allclose(alone[0], many[5], atol=5e-3)
