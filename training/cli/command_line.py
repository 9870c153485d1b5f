"""The command line of `python -m training`. Nothing here loads torch before a command runs, as that takes seconds."""

import argparse
from pathlib import Path

from models.objective import ALPHA_RANGE, OBJECTIVES, Constraint, Objective
from training.cli.train_command import add_train
from training.data.options import MAX_UNREADABLE_SHARE, add_data_arguments, data_options, given_options
from training.fit.fit_command import add_fit
from training.official.command import add_import_official

__all__ = ["command_line"]

ABOUT = "Own pictures to a bundle (fit), or train, compare, export; evaluate and tune what came out."
COMPARING = (
    "Score finished runs on their test set: the head's own logits, tau-normalised weights, post-hoc logit adjustment "
    "and TDE, as far as the head allows. Knobs are chosen on one half of the test set, scored on the other, both ways."
)
TUNING = (
    "Choose alpha on labelled images: exactly, under constraints, with what to expect of it and what post-hoc logit "
    "adjustment would give instead. Nothing is written unless asked for, and all of it or nothing."
)

AS_TRAINED = "as at the training"


def command_line() -> argparse.ArgumentParser:
    """Return the parser of all commands; what it parses has `run`, to be called with all the options."""
    parser = argparse.ArgumentParser(prog="python -m training", description=ABOUT)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_fit(commands)
    add_train(commands)
    _add_compare(
        commands.add_parser("compare", help="trained runs side by side, every way of inference", description=COMPARING)
    )
    _add_export(commands.add_parser("export", help="turn a finished run into a bundle"))
    add_import_official(commands)
    _add_evaluate(commands.add_parser("evaluate", help="score a bundle on labelled images"))
    _add_tune(commands.add_parser("tune", help="choose alpha on labelled images of your own", description=TUNING))
    return parser


def _add_compare(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_compare)
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a folder given to `train --out`")
    command.add_argument(
        "--data", type=Path, help="folder or zip with test/CLASS/IMAGE; by default the one each was trained from"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    command.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")


def _add_export(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_export)
    command.add_argument("run_folder", type=Path, metavar="RUN", help="the folder given to `train --out`")
    command.add_argument(
        "--out", type=Path, required=True, metavar="BUNDLE", help="NAME/VERSION, or NAME for its next version"
    )
    add_data_arguments(command, data_required=False, bad=AS_TRAINED, split=(AS_TRAINED, AS_TRAINED))


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_evaluate)
    command.add_argument("bundle", type=Path, metavar="BUNDLE", help="NAME/VERSION folder")
    add_data_arguments(command, data_required=False)
    command.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, per-class recall included")
    command.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw accuracy against alpha there (.svg, .png or .pdf)"
    )
    command.add_argument(
        "--save",
        action="store_true",
        help="write the figures, the curve and a calibration into the bundle, in the place of those it holds",
    )


def _add_tune(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_tune)
    command.add_argument("bundle", type=Path, metavar="BUNDLE", help="NAME/VERSION folder")
    add_data_arguments(command, data_required=False, bad=f"{MAX_UNREADABLE_SHARE:g}", split=(AS_TRAINED, AS_TRAINED))
    command.set_defaults(max_unreadable=MAX_UNREADABLE_SHARE)
    command.add_argument(
        "--objective", default="balanced", help=f"what shall be best: {', '.join(OBJECTIVES)} (default: balanced)"
    )
    command.add_argument(
        "--constraint",
        action="append",
        default=[],
        metavar="RULE",
        help="what must hold, such as 'overall >= 0.7' or 'many >= 65%%'; may be given several times",
    )
    command.add_argument("--low", type=float, default=ALPHA_RANGE[0], help="least alpha (default: %(default)g)")
    command.add_argument("--high", type=float, default=ALPHA_RANGE[1], help="largest alpha (default: %(default)g)")
    command.add_argument(
        "--save-as", metavar="NAME", help="write alpha into the bundle as the operating point NAME, new or replaced"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")
    command.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw accuracy against alpha there (.svg, .png or .pdf)"
    )


def _export(options: argparse.Namespace) -> None:
    from training.export.export import export  # noqa: PLC0415  loads torch

    bundle = export(options.run_folder, options.out, given_options(options))
    notes = (bundle.manifest.provenance["data_note"], bundle.manifest.metrics["note"])
    print("; ".join(filter(None, notes)))
    print(f"wrote {bundle.path}; look at it with: uv run python -m models check {bundle.path}")


def _evaluate(options: argparse.Namespace) -> None:
    from training.evaluation.evaluate import evaluate  # noqa: PLC0415  loads torch

    evaluate(options.bundle, data_options(options), options.json, options.plot, save=options.save)


def _compare(options: argparse.Namespace) -> None:
    from training.evaluation.compare import compare  # noqa: PLC0415  loads torch

    compare(options.runs, options.data, options.json, options.markdown)


def _tune(options: argparse.Namespace) -> None:
    from training.evaluation.tune import TuneOptions, tune_bundle  # noqa: PLC0415  loads ONNX Runtime

    rules = tuple(map(Constraint.parse, options.constraint))
    objective = Objective(options.objective, rules, options.low, options.high)
    data = data_options(options)
    given = frozenset(given_options(options))
    tune_bundle(TuneOptions(options.bundle, data, objective, options.save_as, options.json, options.plot, given))
