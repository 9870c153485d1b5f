"""The evaluation protocol, compared with direct computations."""

from dataclasses import replace

import numpy as np
import pytest

from models import tde
from models.metrics import summarise
from models.scores import Scores
from models.tuning import halves
from training.errors import DataError
from training.evaluation.evaluation_protocol import (
    balanced_alpha,
    evaluate_scores,
    group_curves,
    sampled_curves,
    tail_alpha,
)


def random_scores(seed: int = 0, images: int = 600) -> Scores:
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 4
    logits = rng.normal(size=(images, 4)) + 2 * np.eye(4)[labels] + np.array([2.0, 1.0, 0.0, -1.0])
    cosine = rng.uniform(0.3, 0.9, size=(images, 2))
    effect = np.array([[1.5, 0.8, -0.3, -1.2], [1.2, 0.6, 0.1, -1.0]])
    return Scores(logits, tde.head_effect(cosine, effect), labels, ("many", "many", "medium", "few"))


def figures_at(scores: Scores, alpha: float) -> dict[str, float | None]:
    probabilities = scores.probabilities(alpha)
    return summarise(probabilities.argmax(axis=1), probabilities.max(axis=1), scores.labels, scores.groups)


def test_the_chosen_alpha_beats_every_alpha_of_a_grid() -> None:
    scores = random_scores()
    best = figures_at(scores, balanced_alpha(scores.labelled_intervals()))["balanced"]
    grid = [figures_at(scores, float(alpha))["balanced"] for alpha in np.linspace(-8, 8, 801)]
    assert best >= max(grid) - 1e-12


def test_group_curves_are_the_accuracies_of_the_probabilities() -> None:
    scores = random_scores()
    curves = group_curves(scores.labelled_intervals())
    for alpha in (-1.3, 0.0, 0.71, 2.2):
        figures = figures_at(scores, alpha)
        for name, curve in curves.items():
            assert curve.at(alpha) == pytest.approx(figures[name])


def test_the_tail_point_is_no_worse_overall_than_the_plain_classifier() -> None:
    scores = random_scores()
    plain, tail = (figures_at(scores, alpha) for alpha in (0.0, tail_alpha(scores.labelled_intervals())))
    assert tail["overall"] >= plain["overall"]
    assert tail["few"] > plain["few"]


def test_cross_fitting_never_scores_an_image_with_an_alpha_chosen_on_it() -> None:
    scores = random_scores()
    protocol = evaluate_scores(scores, 1.2)
    first = halves(scores.labels)
    fitted = [balanced_alpha(scores.labelled_intervals().part(chosen)) for chosen in (first, ~first)]
    scored = [
        figures_at(scores.part(~chosen), alpha)["overall"]
        for chosen, alpha in zip((first, ~first), fitted, strict=True)
    ]
    assert protocol["cross_fitted"]["alphas"] == fitted
    assert protocol["cross_fitted"]["overall"] == pytest.approx(np.mean(scored))
    assert protocol["hindsight"]["balanced"] >= protocol["cross_fitted"]["balanced"]
    assert (protocol["zero"]["alpha"], protocol["label_free"]["alpha"]) == (0.0, 1.2)


def exempt_scores(seed: int = 0) -> Scores:
    return replace(random_scores(seed), exempt_class=1)


def test_with_an_exempt_class_alpha_is_the_best_among_the_other_classes() -> None:
    scores = exempt_scores()
    others = [0, 2, 3]
    kept = scores.labels != 1

    def balanced(alpha: float) -> float:
        logits = (scores.logits - alpha * scores.slope)[kept][:, others]
        right = np.array(others)[logits.argmax(axis=1)] == scores.labels[kept]
        return float(np.mean([right[scores.labels[kept] == label].mean() for label in others]))

    best = balanced(balanced_alpha(scores.among_others().labelled_intervals()))
    assert best >= max(balanced(alpha) for alpha in np.linspace(-8, 8, 801)) - 1e-12
    assert best > balanced(0.0)


def test_with_an_exempt_class_the_figures_are_those_of_the_served_answers() -> None:
    scores = exempt_scores()
    protocol = evaluate_scores(scores, 1.2)
    plain = scores.logits
    corrected = scores.logits - 1.2 * scores.slope
    served = tde.exempt_probabilities(plain, corrected, 1)
    right = served.argmax(axis=1) == scores.labels
    assert protocol["label_free"]["overall"] == pytest.approx(right.mean())
    curves = sampled_curves(scores, np.array([0.0, 1.2, 2.4]))
    assert curves["overall"].at(1.2) == pytest.approx(right.mean())
    assert curves["many"].at(1.2) == pytest.approx(np.mean([right[scores.labels == c].mean() for c in (0, 1)]))


@pytest.mark.parametrize("missing", [(3,), (0, 1)], ids=["few", "many"])
def test_classes_without_images_have_no_recall_and_count_nowhere(missing: tuple[int, ...]) -> None:
    scores = random_scores()
    protocol = evaluate_scores(scores.part(~np.isin(scores.labels, missing)), 1.2)
    for figures in protocol.values():
        assert [index for index, recall in enumerate(figures["per_class_recall"]) if recall is None] == list(missing)
        assert figures["few" if missing == (3,) else "many"] is None
        assert figures["balanced"] == pytest.approx(np.mean([r for r in figures["per_class_recall"] if r is not None]))


def test_too_few_images_to_cross_fit_are_refused() -> None:
    with pytest.raises(DataError, match="1 test images are too few"):
        evaluate_scores(random_scores().part(slice(0, 1)), 1.0)
