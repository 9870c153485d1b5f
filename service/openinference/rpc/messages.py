"""The protocol's messages, whose classes protobuf creates from the compiled `inference.proto` when gRPC is used.

There is no generated code, so any supported version of protobuf works. The classes live in a descriptor pool of this
module, so a program may load another server's stubs for the same package as well.
"""

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

__all__ = ["DESCRIPTORS", "PACKAGE", "SERVICE", "from_dict", "message_class"]

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
DESCRIPTORS = Path(__file__).with_name("inference.binpb")  # a FileDescriptorSet, compiled with `make proto`


def message_class(name: str) -> Any:
    """Return the class of a top-level message."""
    return GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


def from_dict(name: str, values: dict[str, Any]) -> Message:
    """Return a message with the content of a REST answer, which has the JSON form of the same message.

    >>> from_dict("ServerMetadataResponse", {"name": "longtail", "extensions": ["a"]}).extensions[0]
    'a'
    """
    message: Message = json_format.ParseDict(values, message_class(name)(), descriptor_pool=_pool())
    return message


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        pool.Add(file)
    return pool
