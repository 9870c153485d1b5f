"""Networks, heads, mean feature, schedule: each against an independent computation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models import tde
from training.errors import RecipeError
from training.model.classifier import Classifier
from training.model.direction import RunningMean, clean_means
from training.model.heads import NormalisedHead, build_head
from training.model.networks.backbones import build_backbone
from training.model.networks.cifar_resnet import CifarResNet32
from training.recipe.named_recipes import load_recipe, recipe_names
from training.recipe.recipe import Recipe
from training.run.schedule import image_size_at, learning_rate_at

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "tde_classifier.npz")


def golden_head(case: str) -> tuple[NormalisedHead, torch.Tensor, torch.Tensor]:
    weight = torch.from_numpy(GOLDEN[f"{case}.weight"])
    head = NormalisedHead(
        weight.shape[1], len(weight), num_heads=int(GOLDEN[f"{case}.num_heads"]), tau=float(GOLDEN[f"{case}.tau"]),
        gamma=float(GOLDEN[f"{case}.gamma"]),
    )  # fmt: skip
    head.load_state_dict({"weight": weight})
    return head, torch.from_numpy(GOLDEN[f"{case}.features"]), torch.from_numpy(GOLDEN[f"{case}.mean_feature"])


@pytest.mark.parametrize("case", ["k1", "k2", "k4"])
@torch.inference_mode()
def test_the_deconfounded_head_agrees_with_the_authors(case: str) -> None:
    head, features, mean = golden_head(case)
    np.testing.assert_allclose(head(features), GOLDEN[f"{case}.logits"], atol=1e-4)
    options = {"num_heads": head.num_heads, "tau": head.tau, "gamma": head.gamma}
    effect = tde.class_effect(head.weight.numpy(), mean.numpy(), **options)
    cosine = head.projection(features, mean).numpy()
    np.testing.assert_allclose(
        cosine, tde.head_cosine(features.numpy(), mean.numpy(), num_heads=head.num_heads), atol=1e-5
    )
    for alpha in (0.0, 0.5, 1.0, 1.5, 3.0):
        given = tde.tde_logits(head(features).numpy(), cosine, effect, alpha)
        np.testing.assert_allclose(given, GOLDEN[f"{case}.tde_logits.alpha{alpha}"], atol=1e-4)


@torch.inference_mode()
def test_cosine_is_one_head_without_gamma_and_capsule_squashes() -> None:
    features = torch.randn(5, 8)
    options = {"num_heads": 2, "tau": 16.0, "gamma": 1 / 32}
    cosine, capsule = (build_head(kind, 8, 3, **options) for kind in ("cosine", "capsule"))
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(cosine(features), 16 * unit(features, dim=1) @ unit(cosine.weight, dim=1).T)
    squashed = features / (1 + features.norm(dim=1, keepdim=True))
    torch.testing.assert_close(capsule(features), 16 * squashed @ unit(capsule.weight, dim=1).T)


@pytest.mark.parametrize("kind", ["cosine", "capsule", "deconfounded", "linear"])
def test_features_that_are_all_zero_give_no_nan(kind: str) -> None:
    head = build_head(kind, 8, 3, num_heads=2, tau=16.0, gamma=0.0)
    features = torch.zeros(2, 8, requires_grad=True)
    head(features).sum().backward()
    assert torch.isfinite(head(features)).all()
    assert torch.isfinite(features.grad).all()


def test_features_that_cannot_be_split_and_unknown_heads_are_refused() -> None:
    with pytest.raises(RecipeError, match="10 features cannot be split into 4"):
        NormalisedHead(10, 3, num_heads=4)
    with pytest.raises(RecipeError, match="unknown head 'magic'; heads: linear, cosine, capsule, deconfounded"):
        build_head("magic", 8, 3, num_heads=2, tau=1.0, gamma=0.0)


def test_resnet32_has_two_last_blocks_and_128_features_that_are_not_negative() -> None:
    network = CifarResNet32()
    features = network(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, 128)
    assert (features >= 0).all()
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == 1 + 2 * (5 + 5 + 4 + 2)


@pytest.mark.parametrize(
    ("name", "width"), [("resnet18", 512), ("mobilenet_v3_small", 1024), ("squeezenet1_1", 512), ("densenet121", 1024)]
)
@torch.inference_mode()
def test_a_torchvision_network_becomes_a_backbone_by_its_name(name: str, width: int) -> None:
    network, feature_dim = build_backbone(name)
    assert network.eval()(torch.randn(1, 3, 64, 64)).shape == (1, feature_dim) == (1, width)


def test_resnext50_is_there_and_an_unknown_network_is_refused() -> None:
    assert build_backbone("resnext50_32x4d")[1] == 2048
    with pytest.raises(RecipeError, match=r"networks: .*resnet34.*, timm/NAME"):
        build_backbone("resnet33")


def test_the_mean_feature_counts_every_image_once(recipe: Recipe) -> None:
    model = Classifier(recipe, 3).eval()
    images = torch.randn(7, 3, 8, 8)
    mean, normalised = clean_means(model, [images[:4], images[4:6], images[6:]])
    features = model.backbone(images)
    torch.testing.assert_close(mean, features.mean(dim=0))
    torch.testing.assert_close(normalised, model.head.normalise(features).mean(dim=0))


def test_the_running_mean_is_the_authors_formula() -> None:
    running = RunningMean(2)
    running.update(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    running.update(torch.tensor([[10.0, 10.0]]))
    torch.testing.assert_close(running.value, torch.tensor([0.9 * 2.0 + 10.0, 0.9 * 3.0 + 10.0]))


def test_the_papers_schedule_warms_up_from_above_0_and_falls_at_120_and_160() -> None:
    recipe = load_recipe("cifar10-lt")
    assert learning_rate_at(recipe, 0.01) > 0
    rates = [learning_rate_at(recipe, epoch) for epoch in (2.5, 5, 119.9, 120, 160, 199.99)]
    assert rates == pytest.approx([0.1, 0.2, 0.2, 0.002, 0.00002, 0.00002])


def test_cosine_falls_to_almost_0_and_restarts_where_the_recipe_says() -> None:
    recipe = load_recipe("cifar10-lt-short")
    assert learning_rate_at(recipe, 32.5) == pytest.approx(0.1)
    assert 0 < learning_rate_at(recipe, 59.99) < 1e-6
    assert learning_rate_at(recipe, 60) == pytest.approx(0.05)
    assert learning_rate_at(recipe, 67.5) == pytest.approx(0.025)
    assert 0 < learning_rate_at(recipe, 74.99) < 1e-6


def test_fewer_epochs_move_everything_in_proportion() -> None:
    assert load_recipe("cifar10-lt").with_epochs(20).milestones == (12.0, 16.0)
    short = load_recipe("cifar10-lt-short").with_epochs(25)
    assert [image_size_at(short, epoch) for epoch in (0, 7, 8, 13, 14)] == [20, 20, 24, 24, None]
    with pytest.raises(RecipeError, match="at least 1"):
        short.with_epochs(0)


def test_every_recipe_loads_under_its_name_and_survives_a_checkpoint() -> None:
    assert {"cifar10-lt", "cifar100-lt", "cifar10-lt-strong", "cifar100-lt-strong"} <= set(recipe_names())
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert Recipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(RecipeError, match="unknown recipe 'cifar11'; recipes: cifar10-lt"):
        load_recipe("cifar11")
