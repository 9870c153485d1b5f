"""Several processes train one model: who they are, what they add up, and how they fail together.

`torchrun` starts the processes and tells each its number by environment variables; without them, training is alone and
nothing here costs anything. The processes share each batch of the recipe: process p has every P-th image from the p-th
on. What training needs of all of them are sums, so the result is that of one process but for rounding.

Text and tensors are all they exchange, nothing pickled. Over gloo they agree on what to do; gradients and batch norm
go over gloo on the CPU and over NCCL on GPUs.
"""

import io
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from models.errors import LongtailError
from training.data.augmentation.random_numbers import SharedGenerator
from training.errors import LostProcessError, ProcessError, TrainingError
from training.run.batch_norm import share_batch_norm

__all__ = ["Terminated", "World", "tell_launcher"]

PATIENCE = timedelta(minutes=10)  # how long one process may keep the others waiting
CONNECTION_WORDS = ("gloo", "nccl", "connection", "timed out", "socket", "peer")  # in torch's errors, in any case


class Terminated(BaseException):
    """The process was asked to end (SIGTERM), which is what `torchrun` does when another process has failed."""


class World:
    """The processes that train together, seen from one of them.

    Attributes:
        rank, size: this process's number and how many there are.
        local_rank, local_size: the same on this machine.
        share: of a batch's images, those of this process.

    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, local_size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self.local_size = local_size
        self.share = slice(rank, None, size)
        self._error_of_all: TrainingError | None = None
        self.group: dist.ProcessGroup | None = None  # NCCL's, where there are GPUs; None is gloo's

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "World":
        """Read what `torchrun` says; without it the process is alone.

        Raises:
            TrainingError: only half of it is there, or it is not numbers.

        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        if "RANK" not in environment:
            return cls()
        values = [environment.get(name, "") for name in names]
        if not all(value.isdecimal() for value in values):
            said = ", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=True))
            raise TrainingError(f"{said}: not what torchrun sets; start with torchrun, or unset RANK to train alone")
        return cls(*map(int, values))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    @property
    def launcher(self) -> str:
        """The beginning of the command line that started this."""
        if self.size == 1:
            return "python"
        nodes = "" if self.size == self.local_size else f"--nnodes {self.size // self.local_size} "
        return f"torchrun {nodes}--nproc-per-node {self.local_size}"

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Reach the other processes, and leave them in good order.

        Raises:
            LostProcessError: one of them is gone or was silent for `PATIENCE`.
            ProcessError: this one failed while the others did not.
            TrainingError: they all failed, see `together`.
            Terminated: on SIGTERM.

        """
        if self.size == 1:
            yield
            return
        signal.signal(signal.SIGTERM, _terminate)
        try:
            store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store may still hold dead addresses
            store = dist.PrefixStore(attempt, store)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE)
            yield
            dist.destroy_process_group()
        except SystemExit:  # argparse has spoken; nobody leaves before the first process has
            with suppress(TrainingError), self.together():
                raise TrainingError("does not go on with this command line") from None
            raise
        except (TrainingError, LongtailError, OSError) as error:
            if error is self._error_of_all:
                dist.destroy_process_group()
                raise
            raise ProcessError(f"process {self.rank} of {self.size}: {error}") from error
        except RuntimeError as error:
            if not any(word in str(error).lower() for word in CONNECTION_WORDS):
                raise
            raise LostProcessError(
                f"process {self.rank} of {self.size} lost the others: one of them was killed, failed or is out of "
                "reach; the last epoch's checkpoint stays, the same command with --resume goes on from it "
                f"({str(error).splitlines()[0][:200]})"
            ) from error
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left to do is to say why

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make an error that a user can mend, of any process, the error of all. Nothing is exchanged inside.

        Raises:
            TrainingError: what the processes have to say, each sentence once.

        """
        said = ""
        error = None
        try:
            yield
        except (TrainingError, LongtailError, OSError) as caught:
            if self.size == 1:
                raise
            said = str(caught)
            error = caught
        heard = self.gather_texts(said)
        failed: dict[str, list[int]] = {}
        for rank, sentence in enumerate(heard):
            if sentence:
                failed.setdefault(sentence, []).append(rank)
        if failed:
            sentences = [
                sentence if len(ranks) == self.size else f"process {', '.join(map(str, ranks))}: {sentence}"
                for sentence, ranks in failed.items()
            ]
            self._error_of_all = TrainingError("\n".join(sentences))
            raise self._error_of_all from error

    def silence(self) -> AbstractContextManager[object]:
        """Let only the first process print."""
        quiet = ExitStack()
        if not self.first:
            quiet.enter_context(redirect_stdout(io.StringIO()))
            quiet.enter_context(redirect_stderr(io.StringIO()))
        return quiet

    def agree(self, what: str, value: str) -> None:
        """Refuse to go on where the processes differ in something they must not differ in.

        Raises:
            TrainingError: on all of them.

        """
        heard = self.gather_texts(value)
        with self.together():
            if len(set(heard)) > 1:
                said = "; ".join(f"process {rank} has {text}" for rank, text in enumerate(heard))
                raise TrainingError(f"the processes differ in {what}: {said}")

    def use(self, device: torch.device) -> None:
        """Exchange gradients between GPUs directly from here on, where the processes have GPUs."""
        if self.size > 1 and device.type == "cuda":
            torch.cuda.set_device(device)
            self.group = dist.new_group(backend="nccl", timeout=PATIENCE)

    def parallel(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the model to call in training: its gradients will be the mean over the processes."""
        if self.size == 1:
            return model
        devices = [device] if device.type == "cuda" else None
        parallel = DistributedDataParallel(
            model, device_ids=devices, process_group=self.group, gradient_as_bucket_view=True
        )
        parallel.broadcast_buffers = False  # all processes have computed the same ones
        return parallel

    def share_batch_norm(self, model: nn.Module, device: torch.device) -> None:
        """Let the model's batch norms see the images of all processes."""
        if self.size > 1:
            share_batch_norm(model, device, self.group)

    def check_batch(self, images: int) -> None:
        """Refuse a batch that the processes cannot share equally.

        Raises:
            TrainingError: on all of them.

        """
        if images % self.size:
            raise TrainingError(
                f"{self.size} processes cannot share a batch of {images} images equally; start a number of processes "
                "that divides it, or change the recipe with --set batch_size=NUMBER"
            )

    def generator(self, seed: int) -> torch.Generator:
        """Return a generator that draws the same for an image as one process alone would."""
        return SharedGenerator.seeded(seed, rank=self.rank, size=self.size)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over the processes; not differentiable."""
        if self.size == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total, group=self.group if values.is_cuda else None)
        return total

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the processes; not differentiable."""
        return self.sum(values) / self.size if self.size > 1 else values

    def gather(self, rows: Tensor) -> Tensor:
        """Return all processes' rows in the images' order: (b, ...) of every `share` -> (B, ...), on the CPU."""
        if self.size == 1:
            return rows.cpu()
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(rows)
        dist.all_reduce(counts)
        padded = rows.new_zeros((int(counts.max()), *rows.shape[1:]), device="cpu")
        padded[: len(rows)] = rows.cpu()
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[: int(counts.sum())]

    def broadcast(self, content: bytes | None) -> bytes | None:
        """Return what the first process has, on all of them."""
        if self.size == 1:
            return content
        length = torch.tensor([-1 if content is None else len(content)])
        dist.broadcast(length, 0)
        if int(length) < 0:
            return None
        data = torch.empty(int(length), dtype=torch.uint8)
        if self.first:
            data = torch.frombuffer(bytearray(content or b""), dtype=torch.uint8)
        dist.broadcast(data, 0)
        return data.numpy().tobytes()

    def gather_texts(self, text: str) -> list[str]:
        """Return every process's text, by rank."""
        if self.size == 1:
            return [text]
        content = torch.tensor(list(text.encode()), dtype=torch.uint8)
        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(content)
        dist.all_reduce(lengths)
        padded = torch.zeros(max(1, int(lengths.max())), dtype=torch.uint8)
        padded[: len(content)] = content
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        pairs = zip(parts, lengths.tolist(), strict=True)
        return [part[:length].numpy().tobytes().decode() for part, length in pairs]


def tell_launcher(sentence: str) -> None:
    """Let `torchrun`, whose own page ends what a user sees, repeat the sentence there instead of a traceback."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        details = {"py_callstack": sentence, "timestamp": str(int(time.time()))}
        Path(file).write_text(json.dumps({"message": {"message": sentence, "extraInfo": details}}))


def _terminate(*_: Any) -> None:
    raise Terminated
