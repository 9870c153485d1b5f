"""The compiled descriptors are those of `inference.proto`, and the messages are those of the protocol's clients."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from tritonclient.grpc import service_pb2

from service.openinference.rpc import server
from service.openinference.rpc.messages import DESCRIPTORS, PACKAGE, SERVICE

CHECKED_IN = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())


def pool() -> DescriptorPool:
    made = DescriptorPool()
    for file in CHECKED_IN.file:
        made.Add(file)
    return made


def messages(found: Iterator[Descriptor]) -> Iterator[Descriptor]:
    """The messages, and those nested in them."""
    for message in found:
        yield message
        yield from messages(iter(message.nested_types))


def described(field: FieldDescriptor) -> tuple[object, ...]:
    """What a field is on the wire and in JSON."""
    refers_to = field.message_type or field.enum_type
    return field.name, field.type, field.label, field.json_name, refers_to.full_name if refers_to else None


def test_the_descriptors_are_compiled_from_the_proto_file(tmp_path: Path) -> None:
    source = DESCRIPTORS.with_suffix(".proto")
    compiled = tmp_path / "compiled.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={source.parent}"]
    subprocess.run([*command, f"--descriptor_set_out={compiled}", source.name], check=True)
    assert FileDescriptorSet.FromString(compiled.read_bytes()) == CHECKED_IN, "run `make proto`"


def test_every_message_and_field_is_one_of_tritons() -> None:
    triton = service_pb2.DESCRIPTOR.pool
    (file,) = CHECKED_IN.file
    names = [f"{PACKAGE}.{message.name}" for message in file.message_type]
    found = list(messages(pool().FindMessageTypeByName(name) for name in names))
    assert len(found) > 40
    for message in found:
        fields = triton.FindMessageTypeByName(message.full_name).fields_by_number
        assert [described(field) for field in message.fields] == [
            described(fields[field.number]) for field in message.fields
        ]
    enums = [f"{PACKAGE}.{enum.name}" for enum in file.enum_type]
    enums += [enum.full_name for message in found for enum in message.enum_types]
    assert len(enums) == 2
    for name in enums:
        expected = triton.FindEnumTypeByName(name).values_by_name
        for value in pool().FindEnumTypeByName(name).values:
            assert expected[value.name].number == value.number


def test_every_method_of_the_service_is_served_with_the_protocols_messages() -> None:
    service = pool().FindServiceByName(SERVICE)
    triton = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    assert {method.name for method in service.methods} == {*server.METHODS, "ServerMetadata"}
    for method in service.methods:
        expected = triton[method.name]
        assert (method.input_type.full_name, method.output_type.full_name) == (
            expected.input_type.full_name, expected.output_type.full_name,
        )  # fmt: skip
        assert method.input_type.name == f"{method.name}Request"
        assert method.output_type.name == f"{method.name}Response"
