"""Each loss agrees with its paper's formula, computed image by image."""

import math
from dataclasses import replace

import pytest
import torch

from training.errors import RecipeError
from training.recipe.choices import LOSSES
from training.recipe.recipe import Recipe
from training.run.losses import Loss, class_weights

COUNTS = [1000, 100, 10]
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0], [1.0, 1.0, -2.0], [4.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 1, 2, 2])
BASE = Recipe(name="test", head="cosine", tau=16.0, epochs=10)


def loss_of(recipe: Recipe, epoch: float = 0.0, logits: torch.Tensor = LOGITS) -> float:
    return Loss(recipe, torch.tensor(COUNTS), torch.device("cpu"))(logits, LABELS, epoch).item()


def plain(logits: list[float], label: int) -> float:
    """−log softmax."""
    return math.log(sum(map(math.exp, logits))) - logits[label]


def each() -> list[tuple[list[float], int]]:
    return list(zip(LOGITS.tolist(), LABELS.tolist(), strict=True))


def test_cross_entropy_is_the_mean_negative_log_probability() -> None:
    assert loss_of(BASE) == pytest.approx(sum(plain(z, y) for z, y in each()) / 4, rel=1e-6)


def test_focal_weights_an_image_by_its_error() -> None:
    expected = [(1 - math.exp(-plain(z, y))) ** 2 * plain(z, y) for z, y in each()]
    assert loss_of(replace(BASE, loss="focal")) == pytest.approx(sum(expected) / 4, rel=1e-6)


def test_class_balanced_weights_by_the_effective_number() -> None:
    weights = [(1 - 0.9999) / (1 - 0.9999 ** COUNTS[y]) for _, y in each()]
    expected = sum(w * plain(z, y) for w, (z, y) in zip(weights, each(), strict=True)) / sum(weights)
    assert loss_of(replace(BASE, loss="class_balanced")) == pytest.approx(expected, rel=1e-5)


def test_ldam_subtracts_a_margin_that_is_largest_for_the_rarest_class() -> None:
    def one(z: list[float], y: int) -> float:
        margin = 0.5 * (COUNTS[y] / COUNTS[-1]) ** -0.25  # the rarest class has the whole 0.5
        return plain([value - 16 * margin * (i == y) for i, value in enumerate(z)], y)

    expected = sum(one(z, y) for z, y in each()) / 4
    assert loss_of(replace(BASE, loss="ldam")) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "strength"), [("balanced_softmax", 1.0), ("logit_adjusted", 1.0), ("logit_adjusted", 2.0)]
)
def test_the_adjusted_losses_add_the_log_of_the_class_frequency(loss: str, strength: float) -> None:
    shift = [strength * math.log(count) for count in COUNTS]
    expected = sum(plain([a + b for a, b in zip(z, shift, strict=True)], y) for z, y in each()) / 4
    assert loss_of(replace(BASE, loss=loss, logit_adjustment=strength)) == pytest.approx(expected, rel=1e-5)


def test_deferred_reweighting_begins_at_its_epoch() -> None:
    recipe = replace(BASE, loss="ldam", reweight_from=8.0)
    assert loss_of(recipe, 7.9) == loss_of(replace(BASE, loss="ldam"))
    assert loss_of(recipe, 8.0) != loss_of(recipe, 7.9)
    always = replace(BASE, loss="class_balanced")
    assert loss_of(replace(BASE, reweight_from=8.0), 9.0) == loss_of(always)


def test_class_weights_have_mean_one_and_an_absent_class_has_weight_zero() -> None:
    weights = class_weights(torch.tensor([100, 0, 10]), 0.99)
    assert weights.mean().item() == pytest.approx(1.0)
    assert weights[1] == 0
    assert weights[2] > weights[0]


def test_focal_with_a_small_exponent_has_a_gradient_at_certainty() -> None:
    logits = torch.tensor([[40.0, 0.0, 0.0]]).requires_grad_()
    recipe = replace(BASE, loss="focal", focal_gamma=0.5)
    Loss(recipe, torch.tensor(COUNTS), torch.device("cpu"))(logits, torch.tensor([0]), 0.0).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_and_its_gradient_are_finite_for_extreme_logits(loss: str) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]] * 4).requires_grad_()
    value = Loss(replace(BASE, loss=loss), torch.tensor(COUNTS), torch.device("cpu"))(logits, LABELS, 0.0)
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_contradictory_recipes_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"recipe .*: loss is 'hinge'; it must be 'cross_entropy', 'focal'"):
        replace(BASE, loss="hinge")
    for head in ("linear", "capsule"):
        with pytest.raises(RecipeError, match="LDAM's margin is subtracted from a cosine"):
            replace(BASE, head=head, loss="ldam")
    with pytest.raises(RecipeError, match="use head linear"):
        replace(BASE, second_stage="lws", second_stage_epochs=2)
    with pytest.raises(RecipeError, match="leaves one of the two stages without epochs"):
        replace(BASE, second_stage="crt", second_stage_epochs=10)
