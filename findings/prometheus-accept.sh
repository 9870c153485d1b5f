#!/usr/bin/env bash
# prometheus_client.exposition.choose_encoder reads the Accept header of a scrape in its own way.
#
# Expected: content negotiation as in RFC 9110. `q=0` means "not this one", a higher q wins, media types are compared
#     without regard to case, and a parameter may be in quotes: version="1.0.0" is version=1.0.0.
# Happens: quality values are ignored, so the first entry that names OpenMetrics wins, even with q=0 or beside a text
#     format with a higher q. A version in quotes raises TypeError, so a server that calls the function answers 500.
#     Capital letters are not recognised.
# Matters here: /metrics is negotiated by Accept. service/metrics_format.py therefore reads the header itself.
#
# Exit code: 0 if it is still so, 1 if the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check prometheus-client==0.26.0
"$folder/venv/bin/python" - <<'PYTHON'
import platform
import sys
from importlib.metadata import version

from prometheus_client.exposition import choose_encoder

OPEN = "application/openmetrics-text"
EXPECTED_BY_RFC_9110 = {  # Accept -> the format that a client asks for
    f"{OPEN};version=1.0.0,text/plain;version=0.0.4;q=0.5": "openmetrics",
    f"text/plain;version=0.0.4,{OPEN};version=1.0.0;q=0.1": "text",
    f"{OPEN};version=1.0.0;q=0,text/plain": "text",
    f'{OPEN};version="1.0.0"': "openmetrics",
    "Application/OpenMetrics-Text;version=1.0.0": "openmetrics",
}
HAPPENS = ["openmetrics", "openmetrics", "openmetrics", "TypeError", "text"]

print(f"Python {platform.python_version()}, prometheus_client {version('prometheus_client')}")
happened = []
for accept, expected in EXPECTED_BY_RFC_9110.items():
    try:
        content_type = choose_encoder(accept)[1]
        happened.append("openmetrics" if content_type.startswith(OPEN) else "text")
    except TypeError as error:
        happened.append("TypeError")
        print(f"    {error}")
    print(f"{accept}\n    expected {expected}, got {happened[-1]}")
sys.exit(0 if happened == HAPPENS else 1)
PYTHON
