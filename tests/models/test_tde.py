"""The alpha arithmetic against the authors' code, and the properties everything else is built on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import tde

GOLDEN = Path(__file__).parents[1] / "golden"
CLASSIFIER = np.load(GOLDEN / "tde_classifier.npz", allow_pickle=False)
DETECTION = np.load(GOLDEN / "tde_detection_head.npz", allow_pickle=False)
TOLERANCE = 1e-4  # the authors' code computes in float32, with logits up to 20

seeds = st.integers(0, 2**32 - 1)
alphas = st.floats(-8, 8)


class Model:
    """Random weights of a random shape, and the module's functions with them filled in."""

    def __init__(self, seed: int, gamma: float = 1 / 32) -> None:
        self.rng = np.random.default_rng(seed)
        num_heads, part, self.num_classes = (int(n) for n in self.rng.integers(1, (5, 6, 9), endpoint=True))
        self.head = {"num_heads": num_heads}
        self.scale: dict[str, Any] = {"num_heads": num_heads, "tau": 16.0, "gamma": gamma}
        self.width = num_heads * part
        self.weight = self.rng.standard_normal((self.num_classes, self.width), dtype=np.float32)
        self.mean = self.rng.standard_normal(self.width, dtype=np.float32)

    def features(self, num_images: int) -> NDArray[np.float32]:
        return self.rng.standard_normal((num_images, self.width), dtype=np.float32)

    def outputs(self, features: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        return (
            tde.classifier_logits(features, self.weight, **self.scale),
            tde.head_cosine(features, self.mean, **self.head),
            tde.class_effect(self.weight, self.mean, **self.scale),
        )


def golden_outputs(arrays: Any, prefix: str = "") -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    features, weight, mean, heads, tau, gamma = (
        arrays[prefix + key] for key in ("features", "weight", "mean_feature", "num_heads", "tau", "gamma")
    )
    scale: dict[str, Any] = {"num_heads": int(heads), "tau": float(tau), "gamma": float(gamma)}
    return (
        tde.classifier_logits(features, weight, **scale),
        tde.head_cosine(features, mean, num_heads=int(heads)),
        tde.class_effect(weight, mean, **scale),
    )


@pytest.mark.parametrize("case", ["k1", "k2", "k4"])
def test_logits_agree_with_the_authors(case: str) -> None:
    logits, _, _ = golden_outputs(CLASSIFIER, f"{case}.")
    np.testing.assert_allclose(logits, CLASSIFIER[f"{case}.logits"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("key", sorted(key for key in CLASSIFIER.files if ".tde_logits." in key))
def test_tde_logits_agree_with_the_authors(key: str) -> None:
    case, alpha = key.split(".tde_logits.alpha")
    result = tde.tde_logits(*golden_outputs(CLASSIFIER, f"{case}."), float(alpha))
    np.testing.assert_allclose(result, CLASSIFIER[key], atol=TOLERANCE, rtol=0)


def test_the_golden_files_hold_all_the_cases() -> None:
    assert sum(".tde_logits." in key for key in CLASSIFIER.files) == 15
    assert sum(".alpha" in key for key in DETECTION.files) == 6


def test_detection_logits_agree_with_the_authors() -> None:
    np.testing.assert_allclose(golden_outputs(DETECTION)[0], DETECTION["logits"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("alpha", [0.5, 1.5, 3.0])
def test_the_background_exempted_agrees_with_the_authors(alpha: float) -> None:
    logits, cosine, effect = golden_outputs(DETECTION)
    corrected = tde.tde_logits(logits, cosine, effect, alpha)
    result = tde.exempt_probabilities(logits, corrected, int(DETECTION["background_index"]))
    expected = DETECTION[f"probabilities.background_exempted.alpha{alpha}"]
    np.testing.assert_allclose(result, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("alpha", [0.5, 1.5, 3.0])
def test_the_background_not_exempted_agrees_with_the_authors(alpha: float) -> None:
    result = tde.tde_logits(*golden_outputs(DETECTION), alpha)
    np.testing.assert_allclose(result, DETECTION[f"logits.not_exempted.alpha{alpha}"], atol=TOLERANCE, rtol=0)


@given(seeds, alphas, alphas, st.floats(0, 1))
def test_tde_is_affine_in_alpha(seed: int, first: float, second: float, share: float) -> None:
    model = Model(seed)
    outputs = model.outputs(model.features(3))
    between = tde.tde_logits(*outputs, share * first + (1 - share) * second)
    mixed = share * tde.tde_logits(*outputs, first) + (1 - share) * tde.tde_logits(*outputs, second)
    np.testing.assert_allclose(between, mixed, atol=1e-3)  # float32 at up to 16 + 8 * 16


@given(seeds, st.floats(1e-18, 1e18))
def test_rescaling_the_mean_feature_changes_nothing(seed: int, factor: float) -> None:
    model = Model(seed)
    _, cosine, effect = model.outputs(features := model.features(3))
    model.mean = (model.mean * factor).astype(np.float32)
    _, rescaled_cosine, rescaled_effect = model.outputs(features)
    np.testing.assert_allclose(rescaled_cosine, cosine, atol=1e-6)
    np.testing.assert_allclose(rescaled_effect, effect, atol=1e-5)  # up to 16 in float32


@given(seeds)
def test_alpha_zero_is_the_plain_classifier(seed: int) -> None:
    model = Model(seed)
    logits, cosine, effect = model.outputs(model.features(4))
    np.testing.assert_array_equal(tde.tde_logits(logits, cosine, effect, 0.0), logits)


@given(seeds)
def test_a_batch_of_one_equals_a_batch_of_many(seed: int) -> None:
    model = Model(seed)
    features = model.features(5)
    many = tde.tde_logits(*model.outputs(features), 1.5)
    ones = np.concatenate([tde.tde_logits(*model.outputs(row[None]), 1.5) for row in features])
    np.testing.assert_allclose(ones, many, atol=1e-5)  # another order of summation


@given(seeds, st.lists(alphas, min_size=1, max_size=6))
def test_every_image_may_bring_its_own_alpha(seed: int, alpha: list[float]) -> None:
    model = Model(seed)
    logits, cosine, effect = model.outputs(model.features(len(alpha)))
    together = tde.tde_logits(logits, cosine, effect, np.array(alpha))
    alone = [tde.tde_logits(logits[n : n + 1], cosine[n : n + 1], effect, one)[0] for n, one in enumerate(alpha)]
    np.testing.assert_allclose(together, alone, atol=1e-4)


@given(seeds, alphas)
def test_an_image_without_features_gives_no_nan(seed: int, alpha: float) -> None:
    model = Model(seed)
    outputs = model.outputs(np.zeros((2, model.width), np.float32))
    np.testing.assert_array_equal(tde.tde_logits(*outputs, alpha), np.zeros((2, model.num_classes)))


def test_one_empty_head_leaves_the_other_alone() -> None:
    features = np.float32([[0, 0, 3, 4]])
    weight = np.float32([[1, 1, 3, 4]])
    logits = tde.classifier_logits(features, weight, num_heads=2, tau=16.0, gamma=0.0)
    np.testing.assert_allclose(logits, [[8.0]], rtol=1e-6)  # half of tau: the full head fits exactly


@given(seeds)
def test_gamma_zero_is_the_plain_cosine(seed: int) -> None:
    model = Model(seed, gamma=0.0)
    model.weight[0] = 0.0  # the authors' code divides by zero here
    logits, _, effect = model.outputs(model.features(3))
    assert np.isfinite(logits).all()
    assert np.isfinite(effect).all()
    assert np.abs(logits).max() <= 16.0 + 1e-4
    np.testing.assert_array_equal(logits[:, 0], 0.0)


@given(seeds, alphas)
def test_the_exempt_class_keeps_its_probability_and_the_rest_sum_to_one(seed: int, alpha: float) -> None:
    model = Model(seed)
    logits, cosine, effect = model.outputs(model.features(4))
    if model.num_classes < 2:
        return
    corrected = tde.tde_logits(logits, cosine, effect, alpha)
    result = tde.exempt_probabilities(logits, corrected, 1)
    np.testing.assert_allclose(result[:, 1], tde.softmax(logits)[:, 1], rtol=1e-6)
    np.testing.assert_allclose(result.sum(axis=1), 1.0, rtol=1e-5)


def test_a_certain_exempt_class_gives_no_nan() -> None:
    logits = np.float32([[500, 0, 0]])
    result = tde.exempt_probabilities(logits, logits * 2, 0)
    np.testing.assert_allclose(result, [[1.0, 0.0, 0.0]])


@pytest.mark.parametrize("exempt", [-1, 3])
def test_an_exempt_class_that_is_none_is_refused(exempt: int) -> None:
    with pytest.raises(ValueError, match=f"exempt class {exempt} among 3 classes"):
        tde.exempt_probabilities(np.zeros((1, 3)), np.zeros((1, 3)), exempt)


def test_softmax_takes_logits_of_any_size() -> None:
    np.testing.assert_allclose(tde.softmax(np.float32([[1e30, 0], [-1e30, -1e30]])), [[1, 0], [0.5, 0.5]])


@pytest.mark.parametrize("alpha", [np.nan, np.inf, np.array([0.0, -np.inf]), 1e39, -1.1e6])
def test_alpha_must_be_a_finite_number(alpha: Any) -> None:
    with pytest.raises(ValueError, match=r"alpha must be a number between -1e\+06 and 1e\+06; 0 is the plain"):
        tde.tde_logits(np.zeros((2, 3)), np.zeros((2, 1)), np.zeros((1, 3)), alpha)


@pytest.mark.parametrize(
    ("logits", "cosine", "effect", "alpha", "sentence"),
    [
        ((2, 3), (2, 2), (1, 3), 0.0, r"\(B, K\) and \(K, C\) fit"),
        ((2, 4), (2, 1), (1, 3), 0.0, r"logits have shape \(2, 4\)"),
        ((2, 3), (2, 1), (1, 3), np.zeros(3), "one for each of 2 images"),
        ((2, 3), (2, 1), (1, 3), np.zeros((2, 1)), "one for each of 2 images"),
    ],
)
def test_shapes_that_disagree_are_refused(logits: Any, cosine: Any, effect: Any, alpha: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        tde.tde_logits(np.zeros(logits), np.zeros(cosine), np.zeros(effect), alpha)


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="mean feature has 6 numbers but there are 4 features"):
        tde.head_cosine(np.ones((1, 4)), np.ones(6), num_heads=2)
    with pytest.raises(ValueError, match=r"features of shape \(1, 4\) cannot be split into 3 equal heads"):
        tde.classifier_logits(np.ones((1, 4)), np.ones((2, 4)), num_heads=3, tau=1.0, gamma=0.0)


def test_the_label_free_alpha_takes_the_whole_effect_from_an_average_image() -> None:
    cosines = np.float32([[0.2, 0.6], [0.4, 0.8]])
    assert tde.label_free_alpha(cosines) * cosines.mean() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("cosines", [np.zeros((0, 2)), np.full((3, 2), -0.5), np.full((1, 2), np.nan)])
def test_there_is_no_label_free_alpha_without_a_head_direction(cosines: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        tde.label_free_alpha(cosines)
