"""`uv run --with atheris python -m tests.fuzz.guided archive -max_total_time=600`: let coverage choose the inputs.

Inputs that reach new lines are kept in runs/fuzz/TARGET and mutated further, so a run continues where the last one
ended. The arguments after the target's name are libFuzzer's. atheris is large and runs on Linux only, so it is not a
dependency.
"""

import logging
import random
import sys
from pathlib import Path

PARSERS = [
    "models.preprocess", "service.tuning.archives", "service.web.bodies", "service.openinference",
    "service.web.query_parameters", "service.web.uploads", "starlette.formparsers", "python_multipart",
    "zipfile", "PIL",
]  # fmt: skip


def main() -> None:
    """Fuzz the target until libFuzzer stops."""
    import atheris  # noqa: PLC0415  not a dependency

    with atheris.instrument_imports(include=PARSERS):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415  imported while atheris instruments the parsers

    name, *options = sys.argv[1:]
    target = TARGETS[name]
    corpus = Path("runs/fuzz") / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.valid_inputs):
        (corpus / f"valid-{number}").write_bytes(data)
    logging.disable(logging.CRITICAL)

    def change(data: bytes, max_length: int, seed: int) -> bytes:
        """Let libFuzzer mutate half of the inputs, and our own mutations the other half."""
        rng = random.Random(seed)
        guided = rng.random() < 0.5
        return (atheris.Mutate(data, max_length) if guided else target.change(rng, target.valid_inputs, target.words))[
            :max_length
        ]

    with target.ready() as function:

        def try_it(data: bytes) -> None:
            function(data)

        atheris.Setup([sys.argv[0], *options, str(corpus)], try_it, custom_mutator=change)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
