"""The command line of `python -m training`. It loads torch only when a command runs, because that takes seconds."""

import argparse
from pathlib import Path

from models.objective import ALPHA_RANGE, OBJECTIVES, Constraint, Objective
from training.cli.train_command import add_train
from training.data.options import MAX_UNREADABLE_SHARE, add_data_arguments, data_options, given_options
from training.fit.fit_command import add_fit
from training.official.command import add_import_official

__all__ = ["command_line"]

ABOUT = "Turn labelled pictures into a bundle: fit a head, or train a network and export it; then evaluate and tune it."
COMPARING = (
    "Score finished runs on their test sets in every way that the head allows: its own logits, tau-normalised weights, "
    "post-hoc logit adjustment and TDE. Each parameter is chosen on one half of the test set and scored on the other, "
    "both ways."
)
TUNING = (
    "Choose the exact best alpha on labelled pictures, under constraints. The report says what to expect of it on new "
    "pictures, and what post-hoc logit adjustment would give. Files are written only if asked for, all or none."
)

AS_TRAINED = "as in training"


def command_line() -> argparse.ArgumentParser:
    """Return the parser of all commands; the options it returns have `run`, a function to call with the options."""
    parser = argparse.ArgumentParser(prog="python -m training", description=ABOUT)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_fit(commands)
    add_train(commands)
    _add_compare(
        commands.add_parser("compare", help="compare finished runs under every way of inference", description=COMPARING)
    )
    _add_export(commands.add_parser("export", help="turn a finished run into a bundle"))
    add_import_official(commands)
    _add_evaluate(commands.add_parser("evaluate", help="score a bundle on labelled pictures"))
    _add_tune(commands.add_parser("tune", help="choose alpha on your own labelled pictures", description=TUNING))
    return parser


def _add_compare(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_compare)
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run folder, as given to `train --out`")
    command.add_argument(
        "--data", type=Path, help="folder or zip with test/CLASS/PICTURE (default: what each run was trained on)"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    command.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to FILE")


def _add_export(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_export)
    command.add_argument("run_folder", type=Path, metavar="RUN", help="the run folder, as given to `train --out`")
    command.add_argument(
        "--out", type=Path, required=True, metavar="BUNDLE", help="NAME/VERSION, or NAME for its next version"
    )
    add_data_arguments(command, data_required=False, bad=AS_TRAINED, split=(AS_TRAINED, AS_TRAINED))


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_evaluate)
    command.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder, NAME/VERSION")
    add_data_arguments(command, data_required=False)
    command.add_argument("--json", type=Path, metavar="FILE", help="write all figures, with recall per class, to FILE")
    command.add_argument(
        "--plot", type=Path, metavar="FILE", help="plot accuracy against alpha to FILE (.svg, .png or .pdf)"
    )
    command.add_argument(
        "--save",
        action="store_true",
        help="write the figures, the curve and a calibration into the bundle, replacing those it has",
    )


def _add_tune(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_tune)
    command.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder, NAME/VERSION")
    add_data_arguments(command, data_required=False, bad=f"{MAX_UNREADABLE_SHARE:g}", split=(AS_TRAINED, AS_TRAINED))
    command.set_defaults(max_unreadable=MAX_UNREADABLE_SHARE)
    command.add_argument(
        "--objective", default="balanced", help=f"what to maximise: {', '.join(OBJECTIVES)} (default: balanced)"
    )
    command.add_argument(
        "--constraint",
        action="append",
        default=[],
        metavar="RULE",
        help="a condition that must hold, such as 'overall >= 0.7' or 'many >= 65%%'; repeatable",
    )
    command.add_argument("--low", type=float, default=ALPHA_RANGE[0], help="the smallest alpha (default: %(default)g)")
    command.add_argument("--high", type=float, default=ALPHA_RANGE[1], help="the largest alpha (default: %(default)g)")
    command.add_argument(
        "--save-as", metavar="NAME", help="write alpha into the bundle as the operating point NAME, which may exist"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the whole report to FILE")
    command.add_argument(
        "--plot", type=Path, metavar="FILE", help="plot accuracy against alpha to FILE (.svg, .png or .pdf)"
    )


def _export(options: argparse.Namespace) -> None:
    from training.export.export import export  # noqa: PLC0415  loads torch

    bundle = export(options.run_folder, options.out, given_options(options))
    notes = (bundle.manifest.provenance["data_note"], bundle.manifest.metrics["note"])
    print("; ".join(filter(None, notes)))
    print(f"wrote {bundle.path}; inspect it with: uv run python -m models check {bundle.path}")


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
