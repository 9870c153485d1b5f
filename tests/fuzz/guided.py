"""`uv run --with atheris python -m tests.fuzz.guided archive -max_total_time=600`: let coverage choose the inputs.

Inputs that reach new lines are kept in runs/fuzz/TARGET and changed further, so it goes on where it ended last time.
What stands behind the target's name is libFuzzer's. atheris is for Linux only and large, so it is no dependency.
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
    """Fuzz the target that is named until libFuzzer has enough."""
    import atheris  # noqa: PLC0415  only here is it needed

    with atheris.instrument_imports(include=PARSERS):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415  while it is watched

    name, *options = sys.argv[1:]
    target = TARGETS[name]
    corpus = Path("runs/fuzz") / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.good):
        (corpus / f"good-{number}").write_bytes(data)
    logging.disable(logging.CRITICAL)

    def change(data: bytes, most: int, seed: int) -> bytes:
        """Half of the inputs are libFuzzer's doing, half ours."""
        rng = random.Random(seed)
        guided = rng.random() < 0.5
        return (atheris.Mutate(data, most) if guided else target.change(rng, target.good, target.words))[:most]

    with target.ready() as function:

        def try_it(data: bytes) -> None:
            function(data)

        atheris.Setup([sys.argv[0], *options, str(corpus)], try_it, custom_mutator=change)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
