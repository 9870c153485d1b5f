"""The errors of `python -m training`.

    TrainingError
    ├── DataError
    ├── RecipeError
    │   └── WeightsError
    ├── CheckpointError
    ├── ProcessError
    │   └── LostProcessError
    └── ExportError

The command prints the message and exits with status 2, or with 1 after a LostProcessError.
"""

__all__ = [
    "CheckpointError",
    "DataError",
    "ExportError",
    "LostProcessError",
    "ProcessError",
    "RecipeError",
    "TrainingError",
    "WeightsError",
]


class TrainingError(Exception):
    """The user's input cannot be used; the message says why and what would work."""


class DataError(TrainingError):
    """The data set is missing, broken, or unsuitable for what was asked."""


class RecipeError(TrainingError):
    """The recipe is unknown, has an invalid field, or contradicts itself."""


class WeightsError(RecipeError):
    """The file of pretrained weights cannot be read, or belongs to another network."""


class CheckpointError(TrainingError):
    """The run's checkpoint is missing, unfinished, or belongs to another network or run."""


class ProcessError(TrainingError):
    """One of several training processes failed for a reason that the others do not share."""


class LostProcessError(ProcessError):
    """Another training process died, so this one cannot continue."""


class ExportError(TrainingError):
    """The run cannot be exported as a bundle."""
