"""Clients that other projects' generators make of the OpenAPI document, and linters of the document."""

import io
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import Address
from tests.clients.environments import ROOT, node_environment, python_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(400)]
PROGRAMS = Path(__file__).parent / "generated"
PICTURE = ROOT / "tests" / "images" / "cat.webp"
CLASSIFY = "/v1/models/cifar10-lt/classify?alpha=0&alpha=balanced&top_k=2&prior=uniform"
COMPILER = {
    **{"strict": True, "target": "es2022", "module": "nodenext", "moduleResolution": "nodenext"},
    **{"lib": ["es2022", "dom", "dom.iterable"], "types": ["node"], "skipLibCheck": True, "outDir": "out"},
}


@pytest.fixture(scope="session")
def document(address: Address, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document that the server gives, in a file."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(httpx.get(f"http://{address.http}/openapi.json").content)
    return path


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip file of class folders."""
    path = tmp_path_factory.mktemp("archive") / "own.zip"
    with zipfile.ZipFile(path, "w") as file:
        for picture in (ROOT / "tests" / "images" / f"{name}.webp" for name in ("cat", "ship", "truck")):
            file.write(picture, f"{picture.stem}/{picture.name}")
    return path


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """Run a program and return its output; its warnings are shown if the test fails."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    print(done.stdout[-4000:], done.stderr[-4000:])
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def openapi_generator(document: Path, language: str, out: Path, *options: str) -> Path:
    """Make a client with openapi-generator, which may report no error on the way."""
    if shutil.which("java") is None:
        pytest.skip("openapi-generator: java is not on the PATH; install a Java runtime, such as default-jre-headless")
    program = python_environment("client-generators") / "bin" / "openapi-generator-cli"
    made = run(program, "generate", "-i", document, "-g", language, "-o", out, *options)
    assert " ERROR " not in made
    return out


def expected(address: Address, archive: Path) -> dict[str, Any]:
    """What the programs print, from requests by hand."""
    with httpx.Client(base_url=f"http://{address.http}", timeout=60) as client:
        result = client.post(CLASSIFY, content=PICTURE.read_bytes()).json()["results"][0]
        walked = client.post("/v1/models/cifar10-lt/alpha-path", content=PICTURE.read_bytes()).json()["results"][0]
        files = {"archive": ("own.zip", io.BytesIO(archive.read_bytes()))}
        fields = {"constraint": "overall >= 0.1"}
        tuned = client.post("/v1/models/cifar10-lt/alpha/tune?wait=30", files=files, data=fields).json()
        stored = client.post("/v1/feedback", json={"id": result["id"], "label": "cat"}).json()
        models = [model["name"] for model in client.get("/v1/models").json()["models"]]
    return {
        "predictions": [[each["classes"][0]["name"], each["alpha"]] for each in result["predictions"]],
        "probability": result["predictions"][0]["classes"][0]["probability"],
        "path": [[step["name"], step["from"], step["to"]] for step in walked["path"]],
        "mixed": ["ImageResult", "ImageFailure"],
        "tuned": [tuned["alpha"], 3, ["overall >= 0.1"]],
        "stored": ["cat", stored["interval"]],
        "several": ["cat", "unknown_result"],
        "on_results": "feedback",
        "refusal": "unknown_model",
        "models": models,
    }


def test_openapi_generators_python_client_works(
    document: Path, address: Address, archive: Path, tmp_path: Path
) -> None:
    openapi_generator(document, "python", tmp_path, "--package-name", "image_models")
    python = python_environment("client-generators") / "bin" / "python"
    program = PROGRAMS / "openapi_generator.py"
    printed = run(python, program, f"http://{address.http}", PICTURE, archive, PYTHONPATH=str(tmp_path))
    assert json.loads(printed) == expected(address, archive)


def test_openapi_python_clients_client_works_and_lacks_no_operation(
    document: Path, address: Address, archive: Path, tmp_path: Path
) -> None:
    programs = python_environment("client-generators") / "bin"
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    generate = ("generate", "--path", document, "--output-path", tmp_path / "made")
    run(programs / "openapi-python-client", *generate, "--fail-on-warning", PATH=path)
    operations = [each for methods in json.loads(document.read_text())["paths"].values() for each in methods.values()]
    modules = {path.stem for path in tmp_path.glob("made/longtail_client/api/*/*.py")} - {"__init__"}
    assert modules == {operation["operationId"] for operation in operations}
    program = PROGRAMS / "openapi_python_client.py"
    package = {"PYTHONPATH": str(tmp_path / "made")}
    printed = run(programs / "python", program, f"http://{address.http}", PICTURE, archive, **package)
    assert json.loads(printed) == expected(address, archive)


def run_typescript(folder: Path, program: str, environment: Path, address: Address, archive: Path) -> dict[str, Any]:
    """Compile a program strictly and run it with node."""
    (folder / "node_modules").symlink_to(environment / "node_modules")
    (folder / "package.json").write_text("{}")
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": COMPILER, "include": ["**/*.ts"]}))
    shutil.copy(PROGRAMS / program, folder)
    run(environment / "node_modules" / ".bin" / "tsc", cwd=folder)
    compiled = folder / "out" / Path(program).with_suffix(".js")
    printed: dict[str, Any] = json.loads(run("node", compiled, f"http://{address.http}", PICTURE, archive))
    return printed


def test_openapi_typescripts_types_compile_and_work_with_openapi_fetch(
    document: Path, address: Address, archive: Path, tmp_path: Path
) -> None:
    environment = node_environment("typescript-client")
    run(environment / "node_modules" / ".bin" / "openapi-typescript", document, "-o", tmp_path / "schema.ts")
    printed = run_typescript(tmp_path, "openapi_fetch.ts", environment, address, archive)
    assert printed == expected(address, archive)


def test_openapi_generators_typescript_fetch_client_compiles_and_works(
    document: Path, address: Address, archive: Path, tmp_path: Path
) -> None:
    environment = node_environment("typescript-client")
    openapi_generator(document, "typescript-fetch", tmp_path / "client")
    printed = run_typescript(tmp_path, "typescript_fetch.ts", environment, address, archive)
    assert printed == expected(address, archive)


def test_redocly_finds_nothing(document: Path) -> None:
    program = node_environment("openapi-linters") / "node_modules" / ".bin" / "redocly"
    lint = ("lint", document, "--extends", "recommended", "--format", "json")
    found = json.loads(run(program, *lint, REDOCLY_TELEMETRY="off", REDOCLY_SUPPRESS_UPDATE_NOTICE="true"))
    assert [(each["ruleId"], each["location"][0]["pointer"]) for each in found["problems"]] == []
    assert found["totals"]["errors"] == 0


def test_spectral_finds_nothing(document: Path, tmp_path: Path) -> None:
    program = node_environment("openapi-linters") / "node_modules" / ".bin" / "spectral"
    (tmp_path / "rules.yaml").write_text('extends: ["spectral:oas"]\n')
    found = json.loads(run(program, "lint", "-r", tmp_path / "rules.yaml", "-f", "json", "-q", document))
    assert [(each["code"], each["path"]) for each in found] == []
