#!/usr/bin/env bash
# grpcio-reflection answers NOT_FOUND to the name of a method, because protobuf's Python pool does not find methods.
#
# Expected: `file_containing_symbol: "package.Service.Method"` gets the file; reflection.proto names methods among the
#   symbols ("<package>.<service>[.<method>]").
# What happens: `DescriptorPool.FindFileContainingSymbol` (upb) finds messages, their fields, enums and services, and
#   raises KeyError for a method, so the reflection service says NOT_FOUND.
# Why it matters here: `grpcurl describe inference.GRPCInferenceService.ModelInfer` would fail, so this server asks for
#   the service instead (`service/openinference/rpc/reflection.py`).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
  grpcio==1.85.1 grpcio-reflection==1.81.1 grpcio-health-checking==1.81.1 protobuf==6.33.6
"$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

from google.protobuf.internal import api_implementation
from grpc_health.v1 import health_pb2  # noqa: F401
from grpc_reflection.v1alpha import reflection, reflection_pb2

servicer = reflection.ReflectionServicer(["grpc.health.v1.Health"])
names = ("grpc.health.v1.Health", "grpc.health.v1.HealthCheckRequest.service", "grpc.health.v1.Health.Check")
requests = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names]
kinds = [answer.WhichOneof("message_response") for answer in servicer.ServerReflectionInfo(requests, None)]
print("grpcio-reflection", version("grpcio-reflection"), "protobuf", version("protobuf"), api_implementation.Type())
for name, kind in zip(names, kinds):
    print(f"{name}: {kind}")
as_described = kinds == ["file_descriptor_response", "file_descriptor_response", "error_response"]
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
