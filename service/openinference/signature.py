"""The inputs and outputs of a model as the protocol shows them; only their sizes differ between models.

A request sends its pictures either as `images` or as `encoded`, and may send an `alpha` for each.
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
        name: its name in requests and responses.
        datatype: UINT8, FP32 or BYTES.
        sizes: its dimensions for one image, without the batch dimension, which comes first.

    """

    name: str
    datatype: str
    sizes: tuple[int, ...]


def inputs_of(manifest: Manifest) -> list[TensorSpec]:
    """Return the inputs that a request may send."""
    sizes = {"images": (manifest.input.height, manifest.input.width, 3)}
    return [TensorSpec(name, datatype, sizes.get(name, ())) for name, datatype in INPUTS.items()]


def outputs_of(manifest: Manifest) -> list[TensorSpec]:
    """Return the outputs that a response may contain."""
    return [
        TensorSpec(name, "FP32", (manifest.num_heads if name == "head_cosine" else len(manifest.classes),))
        for name in OUTPUTS
    ]
