"""The model of a finished run."""

from training.errors import CheckpointError
from training.model.classifier import Classifier
from training.run.run_state import Means, RunState

__all__ = ["final_means", "restore_classifier"]


def restore_classifier(state: RunState) -> Classifier:
    """Return the trained model in evaluation mode, on the CPU, with averaged weights if the recipe keeps an average.

    Raises:
        CheckpointError: the run is not finished, or its weights are another network's.

    """
    if not state.finished or state.trainer is None:
        raise _unfinished(state)
    model = Classifier(state.recipe, len(state.data.classes))
    weights = state.trainer.model
    if state.trainer.average is not None:
        weights = {
            name.removeprefix("module."): value for name, value in state.trainer.average.items() if name != "n_averaged"
        }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint is of another network: {str(error).splitlines()[-1].strip()}") from error
    return model.eval()


def final_means(state: RunState) -> Means:
    """Return the means of a finished run.

    Raises:
        CheckpointError: the run is not finished.

    """
    if state.means is None:
        raise _unfinished(state)
    return state.means


def _unfinished(state: RunState) -> CheckpointError:
    return CheckpointError(
        f"the run stopped after {state.epochs_done} of {state.recipe.epochs} epochs; finish it with "
        "`train … --resume` first"
    )
