#!/usr/bin/env bash
# prometheus_client's OpenMetrics parser refuses what its own exposition writes of values that may be negative.
#
# Expected: what `openmetrics.exposition.generate_latest` writes, `openmetrics.parser` reads.
# What happens: a summary that observed -1 is written with `s_sum -1.0`, and refused: "Counter-like samples cannot be
#   negative". A histogram with a bucket below 0 is written without `_sum`, as OpenMetrics demands, and refused for
#   that: "_sum/_gsum must be present if _count is present". The text format of the same registry reads back.
# Why it matters here: margins, logits and changes of accuracy are negative. A test or an exporter that reads /metrics
#   with the library passes until the first such number. The server therefore counts
#   the head distance, which is never negative, and not the head cosine.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check prometheus-client==0.26.0
"$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Histogram, Summary, exposition, parser
from prometheus_client.openmetrics import exposition as open_exposition
from prometheus_client.openmetrics import parser as open_parser


def read(parse, text):
    """Return what the parser says: nothing, or why it refuses."""
    try:
        list(parse(text))
    except ValueError as error:
        return str(error)
    return "read"


print("prometheus-client", version("prometheus-client"))
said = []
for kind, options in ((Summary, {}), (Histogram, {"buckets": [-0.5, 0.5]})):
    for observed in (0.25, -1.0):
        registry = CollectorRegistry()
        kind("s", "Something.", registry=registry, **options).observe(observed)
        text = open_exposition.generate_latest(registry).decode()
        said.append(read(open_parser.text_string_to_metric_families, text))
        plain = read(parser.text_string_to_metric_families, exposition.generate_latest(registry).decode())
        written = [line for line in text.splitlines() if line.startswith(("s_sum", "s_count"))]
        print(f"{kind.__name__}, observed {observed}: {written}\n    OpenMetrics: {said[-1]}\n    text: {plain}")
refused = ["read", "Counter-like", "_sum/_gsum must", "_sum/_gsum must"]
as_described = all(map(str.startswith, said, refused))
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
