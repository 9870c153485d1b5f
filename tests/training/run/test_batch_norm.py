"""A network's batch norms are shared between processes, all of them, or refused by name."""

import copy

import pytest
import torch
from torch import nn

from training.errors import TrainingError
from training.run.batch_norm import SharedBatchNorm, share_batch_norm

DEVICES = [
    torch.device("cpu"),
    torch.device("cuda"),
]  # nothing is moved there; the device only decides what replaces a norm


class Squared(nn.BatchNorm2d):
    """A batch norm that does more than normalise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).square()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_an_unknown_batch_norm_is_refused_by_name_and_nothing_is_changed(device: torch.device) -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(Squared(3)))
    kinds = [type(each) for each in network.modules()]
    with pytest.raises(TrainingError, match=r"the network has .*test_batch_norm\.Squared, a batch norm that several"):
        share_batch_norm(network, device, None)
    assert [type(each) for each in network.modules()] == kinds


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_torchs_batch_norms_are_shared_under_the_same_names(device: torch.device) -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.BatchNorm3d(4)))
    names = [name for part in (network.named_parameters(), network.named_buffers()) for name, _ in part]
    shared = share_batch_norm(network, device, None)
    kind = nn.SyncBatchNorm if device.type == "cuda" else SharedBatchNorm
    assert [type(each) for each in shared.modules() if not isinstance(each, nn.Sequential)] == 3 * [kind]
    assert [name for part in (shared.named_parameters(), shared.named_buffers()) for name, _ in part] == names


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_timms_batch_norm_keeps_its_activation(device: torch.device) -> None:
    timm_layers = pytest.importorskip("timm.layers")
    network = nn.Sequential(timm_layers.BatchNormAct2d(3, act_layer=nn.PReLU, drop_layer=nn.Hardtanh))
    network[0].running_mean += torch.tensor([1.0, 2.0, -1.0])
    plain = copy.deepcopy(network).eval()
    shared = share_batch_norm(network, device, None)
    assert type(shared[0]) is not type(plain[0])
    assert sorted(shared.state_dict()) == sorted(plain.state_dict())
    images = torch.linspace(-4, 4, 96).view(2, 3, 4, 4)
    assert torch.equal(shared.eval()(images), plain(images))  # in training: test_distributed.py
