"""A client program: the package that openapi-python-client makes. Arguments: address, picture, zip file."""

import io
import json
import sys
from pathlib import Path

from longtail_client import Client
from longtail_client.api.choose_alpha import read_alpha_path, tune_alpha, tune_alpha_on_results
from longtail_client.api.classify import classify
from longtail_client.api.feedback import send_feedback
from longtail_client.api.models import list_models
from longtail_client.models import (
    ClassifyForm,
    FeedbackEntry,
    FeedbackItem,
    ReadAlphaPathForm,
    TuneForm,
    TuneRequest,
    TuneRequestSource,
)
from longtail_client.types import File

address, picture, archive = sys.argv[1:]
data = Path(picture).read_bytes()
model = "cifar10-lt"


def file(name: str, content: bytes) -> File:
    return File(io.BytesIO(content), name, "image/webp")


with Client(address, timeout=60, raise_on_unexpected_status=True) as client:
    form = ClassifyForm([file("cat.webp", data)])
    form["prior"] = "uniform"  # in the form, where it may be long
    result = classify.sync(model, client=client, body=form, alpha=["0", "balanced"], top_k=2).results[0]
    raw = classify.sync(model, client=client, body=file("cat.webp", data), alpha=["0"], prior="uniform").results[0]
    path = read_alpha_path.sync(model, client=client, body=ReadAlphaPathForm([file("cat.webp", data)])).results[0].path
    both = ClassifyForm([file("cat.webp", data), file("broken.png", b"broken")])
    mixed = classify.sync(model, client=client, body=both, top_k=1).results
    zipped = TuneForm(file("own.zip", Path(archive).read_bytes()), constraint=["overall >= 0.1"])
    tuned = tune_alpha.sync(model, client=client, body=zipped, wait=30)
    stored = send_feedback.sync(client=client, body=FeedbackItem(result.id, "cat"))
    entries = [FeedbackEntry(result.id, 3), FeedbackEntry("0" * 32, 3)]
    several = send_feedback.sync(client=client, body=entries).results
    order = TuneRequest(TuneRequestSource.FEEDBACK, objective="overall")
    on_results = tune_alpha_on_results.sync(model, client=client, body=order, wait=30)
    refusal = classify.sync("no-such-model", client=client, body=file("cat.webp", data)).error.code
    assert raw.predictions[0].classes[0].probability == result.predictions[0].classes[0].probability
    print(
        json.dumps(
            {
                "predictions": [[each.classes[0].name, each.alpha] for each in result.predictions],
                "probability": result.predictions[0].classes[0].probability,
                "path": [[step.name, step.from_, step.to] for step in path],
                "mixed": [type(each).__name__ for each in mixed],
                "tuned": [tuned.alpha, tuned.images, tuned.constraints],
                "stored": [stored.label.name, stored.interval],
                "several": [several[0].label.name, several[1].error.code],
                "on_results": str(on_results.source),
                "refusal": refusal,
                "models": [each.name for each in list_models.sync(client=client).models],
            }
        )
    )
