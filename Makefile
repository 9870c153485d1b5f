# Each target sets itself up. uv is used if it is on PATH, else installed into .uv/, private to this checkout.
UV := $(shell command -v uv || echo .uv/bin/uv)
ARGS ?=

.PHONY: serve test test-training test-slow test-clients test-lowest docs check check-training format peers proto

serve: $(UV)  ## serve every bundle in models/shipped on 127.0.0.1:8000; make serve ARGS="--port 9000"
	$(UV) run python -m service $(ARGS)

test: $(UV)  ## the tests; training's run if torch is installed
	$(UV) run --group dev pytest $(ARGS)

test-training: $(UV)  ## training's tests; installs torch first (several GB)
	$(UV) run --group dev --group train --group backbones pytest tests/training training $(ARGS)

test-slow: $(UV)  ## the slow tests of everything: a real browser, real data, killed runs; installs torch too
	$(UV) run --group dev --group train --group backbones pytest -m slow $(ARGS)

test-clients: $(UV)  ## other projects' clients and client generators, in environments of their own in .clients/
	$(UV) run --group dev pytest -m clients tests/clients $(ARGS)

test-lowest: $(UV)  ## the tests with the lowest versions that pyproject.toml admits, in .lowest/
	$(UV) venv --quiet --allow-existing --python 3.11 .lowest
	$(UV) pip compile --quiet --resolution lowest-direct --python-version 3.11 pyproject.toml \
		--group dev --group cpu --group grpc --output-file .lowest/requirements.txt
	$(UV) pip sync --quiet --python .lowest/bin/python .lowest/requirements.txt
	.lowest/bin/python -m pytest $(ARGS)

docs: $(UV)  ## the tables of docs/reference from the code, and the site in site/
	$(UV) run --group dev python -m docs.tools.generate
	$(UV) run --group docs python -m docs.tools.site

check: $(UV)  ## format, lint, types, imports, links and tables of the documentation
	$(UV) run --group dev ruff format --check .
	$(UV) run --group dev ruff check .
	$(UV) run --group dev mypy
	$(UV) run --group dev lint-imports
	$(UV) run --group dev mypy --follow-imports=silent -p docs.tools
	$(UV) run --group dev python -m docs.tools.links
	$(UV) run --group dev python -m docs.tools.generate --check

check-training: $(UV)  ## types of training/ and benchmarks/; installs torch first
	$(UV) run --group dev --group train --group backbones mypy -p training
	MYPYPATH=benchmarks $(UV) run --group dev --group train --group backbones mypy benchmarks/*.py

peers: $(UV)  ## the servers to compare with; make peers ARGS=fastapi
	$(UV) run python benchmarks/peers/setup.py $(ARGS)

format: $(UV)  ## format the code
	$(UV) run --group dev ruff format .
	$(UV) run --group dev ruff check --fix .

proto: $(UV)  ## compile the gRPC messages' .proto file; its result is checked in
	$(UV) run --group dev python -m grpc_tools.protoc --proto_path=service/openinference/rpc \
		--descriptor_set_out=service/openinference/rpc/inference.binpb inference.proto

.uv/bin/uv:
	@echo "uv is not installed; fetching it into .uv/, for this checkout only"
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv
