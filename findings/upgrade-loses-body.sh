#!/usr/bin/env bash
# uvicorn with httptools loses the body of a POST that asks to upgrade, and with it the POST of Java's HTTP client.
#
# Expected: a server that does not speak the protocol named in `Upgrade` ignores the header (RFC 9110, section 7.8) and
#   reads the request as any other, body included.
# What happens: with httptools, the default of `uvicorn[standard]`, the application gets an empty body, and a request
#   sent after it on the same connection is never answered. With h11 all is well. httptools stops at the end of the
#   head, as it does for a request that does change protocols, and uvicorn drops what follows.
# Why it matters here: java.net.http.HttpClient sends `Upgrade: h2c` with the first request on each connection to an
#   http:// address, POSTs too, unless it is told to speak HTTP/1.1. To such a client every picture is "empty".
#   service/server/ignored_upgrade.py reads the body with a new parser.
#
# Runs without this project. Needs python3 with venv, and the package index; java (with a compiler) is optional.
# Exit code 1: the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0

cat > app.py <<'PY'
async def app(scope, receive, send):
    """Answer with the number of bytes in the body."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    text = b"%d bytes" % size
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})
PY

cat > ask.py <<'PY'
"""Serve the application with each of uvicorn's two parsers, and send the same requests to both."""
import importlib.metadata, shutil, socket, subprocess, sys, threading, time

import uvicorn

from app import app

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n%b\r\nhello"
JAVA = """
import java.net.URI;
import java.net.http.*;
public class Post {
  public static void main(String[] given) throws Exception {
    HttpRequest request = HttpRequest.newBuilder(URI.create(given[0]))
        .POST(HttpRequest.BodyPublishers.ofString("hello")).build();
    System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
  }
}
"""


def answers(port, data):
    """Return how many bytes the application saw in each request, by the answers that arrive within two seconds."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(2)
        connection.sendall(data)
        text = b""
        try:
            while part := connection.recv(4096):
                text += part
        except TimeoutError:
            pass
    return [line.split(b"\r\n\r\n")[1].split()[0].decode() for line in text.split(b"HTTP/1.1 200 OK")[1:]]


for name in ("uvicorn", "httptools", "h11"):
    print(name, importlib.metadata.version(name))
seen = {}
for parser in ("h11", "httptools"):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=parser, ws="none", lifespan="off", log_level="critical"))
    threading.Thread(target=server.run, args=([listening],), daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    port = listening.getsockname()[1]
    seen[parser] = answers(port, POST % b""), answers(port, POST % H2C), answers(port, POST % H2C + POST % b"")
    print(f"{parser}: bytes in a POST of 5: {seen[parser][0]}; with Upgrade: {seen[parser][1]}; "
          f"with Upgrade and another POST after it: {seen[parser][2]}")
    if shutil.which("java"):
        with open("Post.java", "w") as file:
            file.write(JAVA)
        done = subprocess.run(["java", "Post.java", f"http://127.0.0.1:{port}/"], capture_output=True, text=True)
        print(f"{parser}: java.net.http.HttpClient posts 5 bytes, the application sees {done.stdout.strip() or done.stderr[:99]}")
    server.should_exit = True
good = (["5"], ["5"], ["5", "5"])
lost = (["5"], ["0"], ["0"])
sys.exit(0 if (seen["h11"], seen["httptools"]) == (good, lost) else 1)
PY
java -version 2>&1 | head -1 || true
if env/bin/python ask.py; then
  echo "as described"
else
  echo "the behaviour has changed"
  exit 1
fi
