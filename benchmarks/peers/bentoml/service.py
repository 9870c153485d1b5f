"""BentoML: two workers, each with its own adaptive batching."""

import bentoml
from PIL.Image import Image
from work import Classifier


@bentoml.service(workers=2, traffic={"timeout": 120})
class Service:
    """The service. A batchable API takes a list, so a request brings one picture as a form's file."""

    def __init__(self) -> None:
        self.classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=8)
    def classify(self, images: list[Image]) -> list[dict]:
        """Classify a batch."""
        return self.classifier.answer(images)
