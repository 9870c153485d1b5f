"""TorchServe: a custom handler; each of the two workers is a process that gets a batch at a time."""

from work import Classifier


class Handler:
    """TorchServe calls `initialize` once and `handle` with each batch."""

    def initialize(self, context: object) -> None:  # noqa: ARG002
        """In each worker process."""
        self.classifier = Classifier()

    def handle(self, data: list[dict], context: object) -> list[dict]:  # noqa: ARG002
        """A row's `body` is the raw request body."""
        return self.classifier.answer([bytes(row["body"]) for row in data])
