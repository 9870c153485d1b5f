"""Batch norm over the whole batch if several processes share it.

torch has this for CUDA only (`SyncBatchNorm`); this module has it for the CPU. The processes add up count, sum and sum
of squares in the forward pass and two sums in the backward pass, so each normalises by the statistics of all images.

Source: Ioffe & Szegedy 2015, arXiv:1502.03167; the backward pass with all-reduced sums as in torch's SyncBatchNorm.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup, all_reduce
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from training.errors import TrainingError

__all__ = ["SharedBatchNorm", "SharedBatchNormAct", "share_batch_norm"]

_TORCH_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SharedBatchNorm(_BatchNorm):
    """Batch norm of 1, 2 or 3 dimensions on the CPU; in evaluation mode it equals torch's own."""

    group: ProcessGroup | None = None

    @override
    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"batch norm needs (B, C, ...), not {x.dim()} dimension(s)")

    @override
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        count, mean, variance = _statistics(x.detach(), self.group)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (count / (count - 1.0)), momentum)
        normalised: Tensor = _Normalise.apply(x, self.weight, self.bias, mean, variance, self.eps, (count, self.group))
        return normalised


def _statistics(x: Tensor, group: ProcessGroup | None) -> tuple[float, Tensor, Tensor]:
    """Return how many values a channel has in all processes, their (C,) mean and their biased (C,) variance."""
    own = x.numel() // x.shape[1]
    kept = torch.promote_types(x.dtype, torch.float32)  # bfloat16 has too few bits for a sum
    variance, mean = torch.var_mean(x.to(kept), dim=[0, *range(2, x.dim())], correction=0)
    mean = mean.double()
    variance = variance.double()
    sums = torch.cat((mean.new_tensor([own]), own * mean, own * (variance + mean.square())))
    all_reduce(sums, group=group)
    count = float(sums[0])
    mean, squares = (sums[1:] / count).chunk(2)
    return count, mean.to(kept), (squares - mean.square()).clamp_min(0.0).to(kept)


class _Normalise(torch.autograd.Function):
    """(x − mean)/√(variance + ε) · weight + bias, where mean and variance depend on x, in every process."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        over: tuple[float, ProcessGroup | None],
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps = eps
        ctx.count, ctx.group = over
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """With g = dL/dy: dL/dx = w/s · (g − mean(g) − x̂ · mean(g·x̂)), the means over all processes, s = √(v + ε)."""
        x, weight, mean, variance = ctx.saved_tensors
        if weight is None:
            weight = torch.ones_like(mean)
        scale = (variance + ctx.eps).rsqrt()
        fixed, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(  # as if mean and variance were constant
            gradient, x, weight, mean, variance, mean, scale, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack((of_bias, of_weight)).double()
        all_reduce(sums, group=ctx.group)
        mean_gradient, mean_product = (sums / ctx.count).to(mean.dtype)
        factor = -weight * scale * scale * mean_product
        offset = -weight * scale * mean_gradient - factor * mean
        shape = [1, -1] + [1] * (x.dim() - 2)
        of_x = fixed + (x * factor.view(shape) + offset.view(shape)).to(fixed.dtype)
        found = zip((of_x, of_weight, of_bias), ctx.needs_input_grad[:3], strict=True)
        return *(value if needed else None for value, needed in found), None, None, None, None


class SharedBatchNormAct(SharedBatchNorm):
    """timm's `BatchNormAct2d`, which applies dropout and an activation after the norm."""

    drop: nn.Module
    act: nn.Module

    @override
    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.drop(super().forward(x)))
        return activated


def share_batch_norm(module: nn.Module, device: torch.device, group: ProcessGroup | None) -> nn.Module:
    """Let every batch norm in the module take its statistics from all processes of the group; parameters keep names.

    Args:
        module: changed in place.
        device: on CUDA, torch's own synchronised batch norm is used, or timm's for timm's batch norm.
        group: the processes; None for the default group.

    Raises:
        TrainingError: the module has a batch norm of another class, which may do more than normalise.

    """
    found = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, _BatchNorm)
    ]
    for _, _, norm in found:
        if type(norm) not in _TORCH_BATCH_NORMS and not _is_from_timm(norm):
            raise TrainingError(
                f"the network has {type(norm).__module__}.{type(norm).__name__}, a batch norm that several processes "
                "cannot share; train in one process, or use another network"
            )
    for parent, name, norm in found:
        setattr(parent, name, _on_cuda(norm, group) if device.type == "cuda" else _on_cpu(norm, group))
    return module


def _is_from_timm(norm: nn.Module) -> bool:
    return type(norm).__name__ == "BatchNormAct2d" and type(norm).__module__.startswith("timm.")


def _on_cuda(norm: _BatchNorm, group: ProcessGroup | None) -> nn.Module:
    if not _is_from_timm(norm):
        synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm, group)
        return synchronised
    from timm.layers.norm_act import convert_sync_batchnorm  # noqa: PLC0415  optional, but installed if we get here

    convert: Callable[[nn.Module, ProcessGroup | None], nn.Module] = convert_sync_batchnorm
    return convert(norm, group)


def _on_cpu(norm: _BatchNorm, group: ProcessGroup | None) -> SharedBatchNorm:
    kind = SharedBatchNormAct if _is_from_timm(norm) else SharedBatchNorm
    shared = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    shared.group = group
    shared._parameters = norm._parameters
    shared._buffers = norm._buffers
    shared._modules = norm._modules
    shared.training = norm.training
    return shared
