"""TorchServe: a custom handler in two worker processes, each of which gets one batch at a time."""

from work import Classifier


class Handler:
    """A handler: TorchServe calls `initialize` once and `handle` with each batch."""

    def initialize(self, context: object) -> None:  # noqa: ARG002
        """Load the model; TorchServe calls this in each worker process."""
        self.classifier = Classifier()

    def handle(self, data: list[dict], context: object) -> list[dict]:  # noqa: ARG002
        """Classify a batch; the `body` of each row is a raw request body."""
        return self.classifier.answer([bytes(row["body"]) for row in data])
