"""What the protocol sees of a model: its inputs and outputs, which are the same for every model but for their sizes.

A request brings its pictures either as `images` or as `encoded`, and may bring an `alpha` for each.
"""

from dataclasses import dataclass

from models.manifest import Manifest

__all__ = ["INPUTS", "OUTPUTS", "TensorSpec", "inputs_of", "outputs_of"]

INPUTS = {"images": "UINT8", "encoded": "BYTES", "alpha": "FP32"}  # name -> datatype
OUTPUTS = ("logits", "head_cosine", "tde_logits", "probabilities")  # all FP32


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output.

    Args:
        name: as requests say it.
        datatype: UINT8, FP32 or BYTES.
        sizes: of one image's part; the batch comes before it.

    """

    name: str
    datatype: str
    sizes: tuple[int, ...]


def inputs_of(manifest: Manifest) -> list[TensorSpec]:
    """Return what a request may bring."""
    sizes = {"images": (manifest.input.height, manifest.input.width, 3)}
    return [TensorSpec(name, datatype, sizes.get(name, ())) for name, datatype in INPUTS.items()]


def outputs_of(manifest: Manifest) -> list[TensorSpec]:
    """Return what an answer may hold."""
    return [
        TensorSpec(name, "FP32", (manifest.num_heads if name == "head_cosine" else len(manifest.classes),))
        for name in OUTPUTS
    ]
