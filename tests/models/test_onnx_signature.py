"""The small protobuf reader against graphs the real onnx package writes."""

from collections.abc import Callable
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from models.errors import BundleGraphError, BundlePathError
from models.onnx_signature import GraphSignature, TensorSignature, check_contract, read_signature
from tests.tiny_bundle import TinyModel

SIZES = {"height": 8, "width": 8, "num_classes": 5, "num_heads": 2}
info = helper.make_tensor_value_info


def check(model: onnx.ModelProto) -> None:
    check_contract(read_signature(model.SerializeToString()), **SIZES)


def nested(levels: int) -> onnx.ModelProto:
    """A tensor in another file, inside If branches inside If branches."""
    tensor = helper.make_tensor("far", TensorProto.FLOAT, [1], [0.0])
    tensor.data_location = TensorProto.EXTERNAL
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    for level in range(levels):
        branch = helper.make_graph([node], f"branch{level}", [], [])
        node = helper.make_node("If", ["condition"], ["out"], then_branch=branch, else_branch=branch)
    model = TinyModel().onnx()
    model.graph.node.append(node)
    return model


def test_a_signature_is_what_the_graph_says() -> None:
    assert read_signature(TinyModel().onnx().SerializeToString()) == GraphSignature(
        inputs=(TensorSignature("images", "uint8", (None, 8, 8, 3)),),
        outputs=(
            TensorSignature("logits", "float32", (None, 5)),
            TensorSignature("head_cosine", "float32", (None, 2)),
        ),
    )


def test_outputs_may_come_in_either_order_and_need_no_batch_name() -> None:
    model = TinyModel().onnx()
    outputs = [info("head_cosine", TensorProto.FLOAT, [None, 2]), info("logits", TensorProto.FLOAT, ["n", 5])]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    check(model)


@pytest.mark.parametrize(
    ("side", "values", "found"),
    [
        ("input", [info("pixels", TensorProto.UINT8, ["b", 8, 8, 3])], "pixels uint8 [?, 8, 8, 3]"),
        ("input", [info("images", TensorProto.FLOAT, ["b", 8, 8, 3])], "images float32 [?, 8, 8, 3]"),
        ("input", [info("images", TensorProto.UINT8, ["b", 3, 8, 8])], "images uint8 [?, 3, 8, 8]"),
        ("input", [info("images", TensorProto.UINT8, [8, 8, 3])], "images uint8 [8, 8, 3]"),
        ("input", [info("images", TensorProto.UINT8, [1, 8, 8, 3])], "images uint8 [1, 8, 8, 3]"),
        ("input", [info("images", TensorProto.UINT8, ["b", "h", "w", 3])], "images uint8 [?, ?, ?, 3]"),
        ("input", [info("images", TensorProto.UINT8, None)], "images uint8 of unknown rank"),
        ("input", [helper.make_tensor_sequence_value_info("images", TensorProto.UINT8, None)], "images no tensor"),
        ("input", [], "has inputs none"),
        (
            "input",
            [info("images", TensorProto.UINT8, ["b", 8, 8, 3]), info("alpha", TensorProto.FLOAT, ["b"])],
            "has inputs alpha float32 [?], images uint8",
        ),
        ("output", [info("logits", TensorProto.FLOAT, ["b", 5])], "has outputs logits float32 [?, 5];"),
    ],
)
def test_another_graph_than_the_contracts_is_refused(side: str, values: list[Any], found: str) -> None:
    model = TinyModel().onnx()
    tensors = getattr(model.graph, side)
    del tensors[:]
    tensors.extend(values)
    with pytest.raises(BundleGraphError) as caught:
        check(model)
    assert found in str(caught.value)
    assert "the manifest and the format want" in str(caught.value)


@pytest.mark.parametrize(
    ("index", "value", "found"),
    [
        (0, info("scores", TensorProto.FLOAT, ["b", 5]), "scores float32 [?, 5]"),
        (0, info("logits", TensorProto.DOUBLE, ["b", 5]), "logits float64 [?, 5]"),
        (0, info("logits", TensorProto.FLOAT16, ["b", 5]), "logits float16 [?, 5]"),
        (0, info("logits", TensorProto.BFLOAT16, ["b", 5]), "logits type 16 [?, 5]"),
        (0, info("logits", TensorProto.FLOAT, ["b", 6]), "logits float32 [?, 6]"),
        (0, info("logits", TensorProto.FLOAT, ["b", "classes"]), "logits float32 [?, ?]"),
        (0, info("logits", TensorProto.FLOAT, ["b", 5, 1]), "logits float32 [?, 5, 1]"),
        (1, info("head_cosine", TensorProto.FLOAT, ["b"]), "head_cosine float32 [?],"),
        (1, info("head_cosine", TensorProto.FLOAT, ["b", 3]), "head_cosine float32 [?, 3]"),
        (1, info("head_cosine", TensorProto.FLOAT, [4, 2]), "head_cosine float32 [4, 2]"),
    ],
)
def test_another_output_than_the_contracts_is_refused(index: int, value: Any, found: str) -> None:
    model = TinyModel().onnx()
    model.graph.output[index].CopyFrom(value)
    with pytest.raises(BundleGraphError) as caught:
        check(model)
    assert found in str(caught.value)


def in_an_initializer(model: onnx.ModelProto) -> TensorProto:
    return model.graph.initializer.add()


def in_a_node(model: onnx.ModelProto) -> TensorProto:
    return model.graph.node.add().attribute.add().t


def in_a_list_of_a_node(model: onnx.ModelProto) -> TensorProto:
    return model.graph.node.add().attribute.add().tensors.add()


def in_a_branch(model: onnx.ModelProto) -> TensorProto:
    return model.graph.node.add().attribute.add().g.initializer.add()


def in_one_of_many_graphs(model: onnx.ModelProto) -> TensorProto:
    return model.graph.node.add().attribute.add().graphs.add().initializer.add()


def in_a_function(model: onnx.ModelProto) -> TensorProto:
    return model.functions.add().node.add().attribute.add().t


def in_a_functions_default(model: onnx.ModelProto) -> TensorProto:
    return model.functions.add().attribute_proto.add().t


def in_a_sparse_initializer(model: onnx.ModelProto) -> TensorProto:
    return model.graph.sparse_initializer.add().indices


def in_a_sparse_attribute(model: onnx.ModelProto) -> TensorProto:
    return model.graph.node.add().attribute.add().sparse_tensor.values


def in_the_training_graph(model: onnx.ModelProto) -> TensorProto:
    return model.training_info.add().algorithm.initializer.add()


@pytest.mark.parametrize(
    "place",
    [
        in_an_initializer,
        in_a_node,
        in_a_list_of_a_node,
        in_a_branch,
        in_one_of_many_graphs,
        in_a_function,
        in_a_functions_default,
        in_a_sparse_initializer,
        in_a_sparse_attribute,
        in_the_training_graph,
    ],
)
@pytest.mark.parametrize("by_location", [True, False])
def test_external_data_is_found_wherever_it_hides(
    place: Callable[[onnx.ModelProto], TensorProto], by_location: bool
) -> None:
    model = TinyModel().onnx()
    tensor = place(model)
    tensor.name = "hidden"
    if by_location:
        tensor.data_location = TensorProto.EXTERNAL
    else:
        tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(BundlePathError, match=r"keeps tensor 'hidden' in another file \(external data\)"):
        check(model)


def test_branches_of_branches_are_searched() -> None:
    with pytest.raises(BundlePathError, match="keeps tensor 'far' in another file"):
        check(nested(3))


def test_graphs_nested_without_end_are_refused() -> None:
    body = b""
    for _ in range(60):  # graph in attribute in node in graph, by hand: onnx would copy each branch twice
        for field in (6, 5, 1):
            body = bytes([field << 3 | 2]) + varint(len(body)) + body
    with pytest.raises(BundleGraphError, match="nests graphs more than 16 deep"):
        read_signature(b"\x3a" + varint(len(body)) + body)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "holds no graph; it is not an ONNX model"),
        (b"\x08\x07", "holds no graph"),
        (b"\x00\x01", "a field has number 0"),
        (b"\x0b", "a field has wire type 3"),
        (b"\x08" + b"\xff" * 11, "a number is longer than 10 bytes"),
        (b"\x08\xff", "is truncated: it ends inside a number"),
        (b"\x3a\x05ab", "is truncated: a field ends 3 bytes behind the end"),
        (b"\x0d\0", "is truncated: a field ends 3 bytes behind the end"),
        (b"\x3a\x00\x3a\x00", "a graph is there twice"),
        (b"\x38\x01", "a graph is a number"),
        (b"\x3a\x06\x5a\x04\x0a\x02\xff\xfe", "a name is not UTF-8"),
    ],
)
def test_damaged_protobuf_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(BundleGraphError, match=sentence):
        read_signature(data)


def varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])
