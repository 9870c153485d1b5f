"""A client program: the package that openapi-generator's `python` makes. Arguments: address, picture, zip file."""

import json
import sys
from pathlib import Path

from image_models import (
    ApiClient,
    ApiException,
    ChooseAlphaApi,
    ClassifyApi,
    ClassLabel,
    Configuration,
    FeedbackApi,
    FeedbackEntry,
    FeedbackItem,
    FeedbackRequest,
    ModelsApi,
    TuneRequest,
)

address, picture, archive = sys.argv[1:]
with ApiClient(Configuration(host=address)) as client:
    file = ("cat.webp", Path(picture).read_bytes())
    alphas = ["0", "balanced"]
    answer = ClassifyApi(client).classify("cifar10-lt", [file], alpha=alphas, top_k=2, prior="uniform")
    result = answer.results[0].actual_instance
    path = ChooseAlphaApi(client).read_alpha_path("cifar10-lt", [file]).results[0].actual_instance.path
    mixed = ClassifyApi(client).classify("cifar10-lt", [file, ("broken.png", b"broken")], top_k=1)
    zipped = ("own.zip", Path(archive).read_bytes())
    tuned = ChooseAlphaApi(client).tune_alpha("cifar10-lt", zipped, wait=30, constraint=["overall >= 0.1"])
    one = FeedbackRequest(FeedbackItem(id=result.id, label=ClassLabel("cat")))
    stored = FeedbackApi(client).send_feedback(one).actual_instance
    unknown = FeedbackEntry(id="0" * 32, label=ClassLabel(3))
    entries = FeedbackRequest([FeedbackEntry(id=result.id, label=ClassLabel(3)), unknown])
    several = FeedbackApi(client).send_feedback(entries).actual_instance.results
    order = TuneRequest(source="feedback", objective="overall")
    on_results = ChooseAlphaApi(client).tune_alpha_on_results("cifar10-lt", order, wait=30)
    try:
        ClassifyApi(client).classify("no-such-model", [file])
    except ApiException as error:
        refusal = error.data.error.code
    print(
        json.dumps(
            {
                "predictions": [[each.classes[0].name, each.alpha] for each in result.predictions],
                "probability": result.predictions[0].classes[0].probability,
                "path": [[step.name, step.var_from, step.to] for step in path],
                "mixed": [type(each.actual_instance).__name__ for each in mixed.results],
                "tuned": [tuned.alpha, tuned.images, tuned.constraints],
                "stored": [stored.label.name, stored.interval],
                "several": [several[0].actual_instance.label.name, several[1].actual_instance.error.code],
                "on_results": on_results.source,
                "refusal": refusal,
                "models": [model.name for model in ModelsApi(client).list_models().models],
            }
        )
    )
