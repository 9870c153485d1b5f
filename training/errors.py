"""What can be wrong with what a user of `python -m training` gives us.

TrainingError          every error a user can mend; the command prints it and exits with 2
├── DataError          a data set: a missing folder, an unreadable image, a ratio that cannot be cut
├── RecipeError        a recipe: an unknown name, a field that makes no sense
│   └── WeightsError   a file of pretrained weights: unreadable, or another network's
├── CheckpointError    a run: no checkpoint, one of another network, one that was never finished
├── ProcessError       one of several processes cannot go on, and says so itself
│   └── LostProcessError   as another one is gone; the command exits with 1
└── ExportError        an export: ONNX and torch disagree, a head that has no TDE
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
    """Something the user gave cannot be used; the message says what and what would work."""


class DataError(TrainingError):
    """The data set cannot be used as it is."""


class RecipeError(TrainingError):
    """The recipe is unknown or contradicts itself."""


class WeightsError(RecipeError):
    """The file of pretrained weights cannot be read, or is another network's."""


class CheckpointError(TrainingError):
    """The run's checkpoint is missing, unfinished or belongs to something else."""


class ProcessError(TrainingError):
    """One of several processes cannot go on, for a reason that the others do not have."""


class LostProcessError(ProcessError):
    """Training over several processes cannot go on without one of them."""


class ExportError(TrainingError):
    """The run cannot become a bundle."""
