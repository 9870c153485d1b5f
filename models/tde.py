"""The alpha arithmetic: take the head classes' pull out of a prediction.

A classifier trained with momentum on long-tailed data drifts towards one direction in feature space, that of the mean
training feature. Every image then scores partly for what it shows and partly for how far it leans that way. TDE
inference subtracts the second part, scaled by alpha:

    x̂_k = x_k/‖x_k‖       ŵ_{i,k} = w_{i,k}/(‖w_{i,k}‖ + γ)       d̂_k = m_k/‖m_k‖
    logits_i           = (τ/K) Σ_k ŵ_{i,k}·x̂_k
    head_cosine_k      = x̂_k·d̂_k
    class_effect_{k,i} = (τ/K) ŵ_{i,k}·d̂_k
    TDE_i(α)           = logits_i − α Σ_k head_cosine_k · class_effect_{k,i}

This is affine in alpha, so the network runs once and every image of a batch may bring its own alpha.

Source: Tang, Huang & Zhang, NeurIPS 2020, arXiv:2009.12991v4, section 4; checked against the authors' code in
tests/golden. Shapes: B images, C classes, D features, K heads of D/K contiguous features each.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX_ALPHA",
    "class_effect",
    "classifier_logits",
    "exempt_probabilities",
    "head_cosine",
    "head_effect",
    "label_free_alpha",
    "softmax",
    "tde_logits",
]

MAX_ALPHA = 1e6  # either sign; useful ones are below 10, and at 1e38 float32 logits would overflow

Float = NDArray[np.floating[Any]]
Float32 = NDArray[np.float32]


def classifier_logits(features: Float, weight: Float, *, num_heads: int, tau: float, gamma: float) -> Float32:
    """Return what training optimises with plain cross-entropy: logits_i = (τ/K) Σ_k ŵ_{i,k}·x̂_k.

    Args:
        features: (B, D). A head whose features are all zero has no direction and adds nothing.
        weight: (C, D) class weights; there is no bias.
        num_heads: K, must divide D.
        tau: scale of the logits.
        gamma: keeps small weights small; 0 is the plain cosine classifier.

    Returns:
        (B, C) float32 logits, between -τ and τ.

    Raises:
        ValueError: the shapes disagree.

    >>> classifier_logits(np.eye(2), np.eye(2), num_heads=1, tau=16.0, gamma=1.0).tolist()
    [[8.0, 0.0], [0.0, 8.0]]

    """
    x = _unit(_heads(features, num_heads, "features"))
    w = _unit(_heads(weight, num_heads, "weight"), gamma)
    _same_width(features, weight, "weight")
    return _scaled(tau / num_heads, np.einsum("bkd,ckd->bc", x, w, optimize=True))


def head_cosine(features: Float, mean_feature: Float, *, num_heads: int) -> Float32:
    """Return how far each image leans to the head direction: head_cosine_k = x̂_k·d̂_k.

    Args:
        features: (B, D).
        mean_feature: (D,) mean training feature; only the direction of each head's part matters.
        num_heads: K, must divide D.

    Returns:
        (B, K) float32 cosines, between -1 and 1; 0 where features or mean feature are all zero.

    Raises:
        ValueError: the shapes disagree.

    >>> head_cosine(np.float32([[3, 4, 0, 0]]), np.float32([1, 0, 1, 0]), num_heads=2).round(3).tolist()
    [[0.6000000238418579, 0.0]]

    """
    x = _unit(_heads(features, num_heads, "features"))
    _same_width(features, mean_feature[None], "mean feature")
    d = _unit(_heads(mean_feature[None], num_heads, "mean feature"))[0]
    return _scaled(1.0, np.einsum("bkd,kd->bk", x, d))


def class_effect(weight: Float, mean_feature: Float, *, num_heads: int, tau: float, gamma: float) -> Float32:
    """Return each class's logit for the head direction alone: class_effect_{k,i} = (τ/K) ŵ_{i,k}·d̂_k.

    Args:
        weight: (C, D) class weights.
        mean_feature: (D,) mean training feature.
        num_heads: K, must divide D.
        tau: scale of the logits.
        gamma: as in `classifier_logits`.

    Returns:
        (K, C) float32, a constant of the model; it is what a bundle stores.

    Raises:
        ValueError: the shapes disagree.

    """
    w = _unit(_heads(weight, num_heads, "weight"), gamma)
    _same_width(weight, mean_feature[None], "mean feature")
    d = _unit(_heads(mean_feature[None], num_heads, "mean feature"))[0]
    return _scaled(tau / num_heads, np.einsum("ckd,kd->kc", w, d))


def head_effect(head_cosine: Float, class_effect: Float) -> Float:
    """Return what alpha = 1 takes out of each logit: Σ_k head_cosine_k · class_effect_{k,i}.

    Args:
        head_cosine: (B, K).
        class_effect: (K, C).

    Returns:
        (B, C): minus the slope of the TDE logits along alpha.

    Raises:
        ValueError: the two disagree about K.

    """
    if head_cosine.ndim != 2 or class_effect.ndim != 2 or head_cosine.shape[1] != class_effect.shape[0]:
        raise ValueError(
            f"head cosine has shape {head_cosine.shape} and class effect {class_effect.shape}; (B, K) and (K, C) fit"
        )
    effect: Float = head_cosine @ class_effect
    return effect


def tde_logits(logits: Float, head_cosine: Float, class_effect: Float, alpha: float | Float) -> Float:
    """Return each image's logits with alpha times its head effect taken out (the module's last equation).

    Args:
        logits: (B, C) as the classifier gives them.
        head_cosine: (B, K).
        class_effect: (K, C).
        alpha: one number for all images, or (B,), one each; dimensionless. 0 is the plain classifier.

    Returns:
        (B, C) logits of the same kind as `logits` (not probabilities).

    Raises:
        ValueError: the shapes disagree, or an alpha is not finite or beyond MAX_ALPHA.

    >>> logits, cosine, effect = np.float32([[4, 1]]), np.float32([[1]]), np.float32([[3, -1]])  # head, tail class
    >>> [tde_logits(logits, cosine, effect, alpha).tolist() for alpha in (0.0, 1.0)]
    [[[4.0, 1.0]], [[1.0, 2.0]]]

    """
    effect = head_effect(head_cosine, class_effect)
    if logits.shape != effect.shape:
        raise ValueError(f"logits have shape {logits.shape} but head cosine and class effect give {effect.shape}")
    alphas = np.asarray(alpha)
    if alphas.shape not in {(), (len(logits),)}:
        raise ValueError(f"alpha has shape {alphas.shape}; one number or one for each of {len(logits)} images fits")
    if not (np.abs(alphas) <= MAX_ALPHA).all():
        raise ValueError(f"alpha must be a number between -{MAX_ALPHA:g} and {MAX_ALPHA:g}; 0 is the plain classifier")
    return logits - alphas.astype(effect.dtype)[..., None] * effect


def softmax(logits: Float) -> Float:
    """Return the (B, C) probabilities of (B, C) logits; safe for logits of any finite size.

    >>> softmax(np.float32([[1000, 1000]])).tolist()
    [[0.5, 0.5]]
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Float = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def exempt_probabilities(logits: Float, tde_logits: Float, exempt_class: int) -> Float:
    """Return probabilities that leave one class alone (detection's background, a camera trap's "empty").

    With p = softmax(logits), q = softmax(TDE), b the exempt class: keep p_b and give every other class
    q_i (1 − p_b)/(1 − q_b). As q_i/(1 − q_b) is the softmax of TDE without b, nothing is ever divided by zero.

    Args:
        logits: (B, C) of the plain classifier.
        tde_logits: (B, C) at the alpha of each image.
        exempt_class: b, an index into C.

    Returns:
        (B, C) probabilities that sum to 1.

    Raises:
        ValueError: the shapes disagree, b is not a class, or there is no other class.

    """
    if logits.ndim != 2 or logits.shape != tde_logits.shape:
        raise ValueError(f"logits have shape {logits.shape} but TDE logits {tde_logits.shape}")
    num_classes = logits.shape[1]
    if num_classes < 2 or not 0 <= exempt_class < num_classes:
        raise ValueError(f"exempt class {exempt_class} among {num_classes} classes; give one of them, and another")
    plain = softmax(logits)
    others = np.arange(num_classes) != exempt_class
    result = plain.copy()
    result[:, others] = softmax(tde_logits[:, others]) * plain[:, others].sum(axis=1, keepdims=True)
    return result


def label_free_alpha(head_cosines: Float) -> float:
    """Return the alpha that needs no labels: 1 / mean head cosine, over the images and heads of the training set.

    An average image then loses exactly the effect of the head direction, and an image that leans less loses less.

    Args:
        head_cosines: (N, K) of N training images.

    Raises:
        ValueError: there is no image, or the mean is not positive, so there is no head direction to take out.

    >>> label_free_alpha(np.float32([[0.25, 0.75], [0.5, 0.5]]))
    2.0

    """
    mean = float(np.mean(head_cosines, dtype=np.float64)) if head_cosines.size else 0.0
    if not mean > 0.0:
        raise ValueError(f"the mean head cosine of {len(head_cosines)} images is {mean:.3g}; it must be positive")
    return 1.0 / mean


def _heads(rows: Float, num_heads: int, what: str) -> NDArray[np.float64]:
    """(N, D) -> (N, K, D/K), in float64 so that no squared norm under- or overflows."""
    if rows.ndim != 2 or num_heads < 1 or rows.shape[1] % num_heads:
        raise ValueError(f"{what} of shape {rows.shape} cannot be split into {num_heads} equal heads")
    return rows.astype(np.float64).reshape(len(rows), num_heads, -1)


def _unit(vectors: NDArray[np.float64], gamma: float = 0.0) -> NDArray[np.float64]:
    """Divide by norm + gamma; a vector of zeros stays zero, where the authors' code gives NaN."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True) + gamma
    unit: NDArray[np.float64] = np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0.0)
    return unit


def _scaled(factor: float, values: NDArray[np.float64]) -> Float32:
    return (factor * values).astype(np.float32)


def _same_width(left: Float, right: Float, what: str) -> None:
    if left.shape[-1] != right.shape[-1]:
        raise ValueError(f"{what} has {right.shape[-1]} numbers but there are {left.shape[-1]} features")
