"""Java's own HTTP client, which asks to upgrade to HTTP/2 with the first request on each connection."""

import subprocess
from pathlib import Path

import orjson
import pytest

from models.bundle import Bundle
from tests.docker.programs import needs, program
from tests.service.conftest import CLASSIFY, picture
from tests.service.server.live import live

pytestmark = pytest.mark.slow
CLIENT = """
import java.net.URI;
import java.net.http.*;
import java.nio.file.Path;

public class Classify {
  public static void main(String[] given) throws Exception {
    HttpClient client = HttpClient.newHttpClient();  // its default is to try HTTP/2
    for (int i = 0; i < 2; i++) {
      HttpRequest request = HttpRequest.newBuilder(URI.create(given[0]))
          .header("Content-Type", "image/png").POST(HttpRequest.BodyPublishers.ofFile(Path.of(given[1]))).build();
      HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
      System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
    }
  }
}
"""


def test_a_post_of_javas_client_arrives_with_its_body(tiny_bundle: Bundle, tmp_path: Path) -> None:
    java = program("java", "default-jdk-headless")
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=True).stdout
    needs("jdk.compiler" in modules, "this Java has no compiler (Debian's package is called default-jdk-headless)")
    (tmp_path / "Classify.java").write_text(CLIENT)
    (tmp_path / "picture.png").write_bytes(picture(1))
    with live(tiny_bundle, tmp_path) as ((host, port), _):
        command = [java, "Classify.java", f"http://{host}:{port}{CLASSIFY}", "picture.png"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        status, version, body = line.split(" ", 2)
        assert (status, version) == ("200", "HTTP_1_1")
        assert len(orjson.loads(body)["results"][0]["predictions"]) == 1
