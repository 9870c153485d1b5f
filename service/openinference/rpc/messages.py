"""The protocol's messages: names, field numbers and types, from which protobuf makes the classes when they are needed.

There is no generated code, and so no version of protobuf that it would be bound to. The classes live in a pool of their
own: a program that has another server's stubs loaded as well keeps both. Only what this server sends or reads is here;
protobuf passes over a field that it does not know.
"""

from functools import cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

__all__ = ["PACKAGE", "SERVICE", "from_dict", "message_class"]

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

# NAME: NUMBER TYPE FIELD, ...   TYPE* is repeated, TYPE{} a map from strings, TYPE| one of those in its message
_MESSAGES = """
ServerLiveRequest:
ServerLiveResponse: 1 bool live
ServerReadyRequest:
ServerReadyResponse: 1 bool ready
ModelReadyRequest: 1 string name, 2 string version
ModelReadyResponse: 1 bool ready
ServerMetadataRequest:
ServerMetadataResponse: 1 string name, 2 string version, 3 string* extensions
ModelMetadataRequest: 1 string name, 2 string version
TensorMetadata: 1 string name, 2 string datatype, 3 int64* shape
ModelMetadataResponse: 1 string name, 2 string* versions, 3 string platform, 4 TensorMetadata* inputs,
  5 TensorMetadata* outputs
InferParameter: 1 bool| bool_param, 2 int64| int64_param, 3 string| string_param, 4 double| double_param,
  5 uint64| uint64_param
InferTensorContents: 4 uint32* uint_contents, 6 float* fp32_contents, 8 bytes* bytes_contents
InferInputTensor: 1 string name, 2 string datatype, 3 int64* shape, 4 InferParameter{} parameters,
  5 InferTensorContents contents
InferRequestedOutputTensor: 1 string name, 2 InferParameter{} parameters
ModelInferRequest: 1 string model_name, 2 string model_version, 3 string id, 4 InferParameter{} parameters,
  5 InferInputTensor* inputs, 6 InferRequestedOutputTensor* outputs, 7 bytes* raw_input_contents
InferOutputTensor: 1 string name, 2 string datatype, 3 int64* shape
ModelInferResponse: 1 string model_name, 2 string model_version, 3 string id, 5 InferOutputTensor* outputs,
  6 bytes* raw_output_contents
ModelConfigRequest: 1 string name, 2 string version
ModelTensorReshape: 1 int64* shape
ModelInput: 1 string name, 2 DataType data_type, 4 int64* dims, 5 ModelTensorReshape reshape, 8 bool optional
ModelOutput: 1 string name, 2 DataType data_type, 3 int64* dims
Latest: 1 uint32 num_versions
ModelVersionPolicy: 1 Latest| latest
ModelDynamicBatching: 1 int32* preferred_batch_size, 2 uint64 max_queue_delay_microseconds
ModelInstanceGroup: 1 string name, 2 int32 count, 4 Kind kind
ModelParameter: 1 string string_value
ModelConfig: 1 string name, 2 string platform, 3 ModelVersionPolicy version_policy, 4 int32 max_batch_size,
  5 ModelInput* input, 6 ModelOutput* output, 7 ModelInstanceGroup* instance_group, 8 string default_model_filename,
  11 ModelDynamicBatching| dynamic_batching, 14 ModelParameter{} parameters, 17 string backend
ModelConfigResponse: 1 ModelConfig config
ModelStatisticsRequest: 1 string name, 2 string version
StatisticDuration: 1 uint64 count, 2 uint64 ns
InferStatistics: 1 StatisticDuration success, 2 StatisticDuration fail, 3 StatisticDuration queue,
  4 StatisticDuration compute_input, 5 StatisticDuration compute_infer, 6 StatisticDuration compute_output,
  7 StatisticDuration cache_hit, 8 StatisticDuration cache_miss
InferBatchStatistics: 1 uint64 batch_size, 2 StatisticDuration compute_input, 3 StatisticDuration compute_infer,
  4 StatisticDuration compute_output
ModelStatistics: 1 string name, 2 string version, 3 uint64 last_inference, 4 uint64 inference_count,
  5 uint64 execution_count, 6 InferStatistics inference_stats, 7 InferBatchStatistics* batch_stats
ModelStatisticsResponse: 1 ModelStatistics* model_stats
ModelRepositoryParameter: 1 bool| bool_param, 2 int64| int64_param, 3 string| string_param, 4 bytes| bytes_param
RepositoryIndexRequest: 1 string repository_name, 2 bool ready
ModelIndex: 1 string name, 2 string version, 3 string state, 4 string reason
RepositoryIndexResponse: 1 ModelIndex* models
RepositoryModelLoadRequest: 1 string repository_name, 2 string model_name, 3 ModelRepositoryParameter{} parameters
RepositoryModelLoadResponse:
RepositoryModelUnloadRequest: 1 string repository_name, 2 string model_name, 3 ModelRepositoryParameter{} parameters
RepositoryModelUnloadResponse:
"""
_ENUMS = {
    "DataType": {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_FP32": 11, "TYPE_STRING": 13},
    "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2},
}


def message_class(name: str) -> Any:
    """Return the class of a message."""
    return GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


def from_dict(name: str, values: dict[str, Any]) -> Message:
    """Return a message of what REST answers with: the protocol's JSON is the JSON of its messages.

    >>> from_dict("ServerMetadataResponse", {"name": "longtail", "extensions": ["a"]}).extensions[0]
    'a'
    """
    made: Message = json_format.ParseDict(values, message_class(name)(), descriptor_pool=_pool())
    return made


@cache
def _pool() -> DescriptorPool:
    file = FileDescriptorProto(name="open_inference.proto", package=PACKAGE, syntax="proto3")
    for name, numbers in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for value, number in numbers.items():
            enum.value.add(name=value, number=number)
    for line in _MESSAGES.replace(",\n  ", ", ").strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for field in filter(None, fields.split(",")):
            _add_field(message, *field.split())
    pool = DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(message: DescriptorProto, number: str, kind: str, name: str) -> None:
    field = message.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
    bare = kind.rstrip("*|{}")
    if kind.endswith("{}"):
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "1", "string", "key")
        _add_field(entry, "2", bare, "value")
        bare = f"{message.name}.{entry.name}"
    if kind.endswith(("*", "{}")):
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if kind.endswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    scalar = getattr(FieldDescriptorProto, f"TYPE_{bare.upper()}", None)
    if scalar is not None:
        field.type = scalar
    else:
        field.type = FieldDescriptorProto.TYPE_ENUM if bare in _ENUMS else FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{bare}"
