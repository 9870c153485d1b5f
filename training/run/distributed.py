"""Several processes train one model: their numbers, what they exchange, and how they fail together.

`torchrun` starts the processes and gives each its number in environment variables. Without them one process trains
alone, at no extra cost. The P processes share each batch of the recipe: process p has every P-th image, starting at the
p-th. Training needs only sums over the processes, so the result equals that of one process except for rounding.

The processes exchange text and tensors, never pickled objects. They coordinate over gloo. Gradients and batch norm use
gloo on CPUs and NCCL on GPUs.
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
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from models.errors import LongtailError
from training.data.augmentation.random_numbers import SharedGenerator
from training.errors import LostProcessError, ProcessError, TrainingError
from training.run.batch_norm import share_batch_norm

__all__ = ["Terminated", "World", "tell_launcher"]

MAX_WAIT = timedelta(minutes=10)  # how long a process waits for another one
CONNECTION_WORDS = ("gloo", "nccl", "connection", "timed out", "socket", "peer")  # of torch's errors


class Terminated(BaseException):
    """The process received SIGTERM, which `torchrun` sends when another process has failed."""


class World:
    """The processes that train together, as one of them sees it.

    Attributes:
        rank: this process's number, from 0.
        size: the number of processes.
        local_rank: this process's number on its machine.
        local_size: the number of processes on its machine.
        share: selects this process's images of a batch.
        group: the processes as an NCCL group, if they have GPUs; None for the default gloo group.

    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, local_size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self.local_size = local_size
        self.share = slice(rank, None, size)
        self._error_of_all: TrainingError | None = None
        self.group: dist.ProcessGroup | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "World":
        """Read the variables that `torchrun` sets; without them the process is alone.

        Raises:
            TrainingError: some of them are missing, or are not numbers.

        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        if "RANK" not in environment:
            return cls()
        values = [environment.get(name, "") for name in names]
        if not all(value.isdecimal() for value in values):
            found = ", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=True))
            raise TrainingError(f"{found}: not what torchrun sets; start with torchrun, or unset RANK to train alone")
        return cls(*map(int, values))

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def launcher(self) -> str:
        """The beginning of the command line that started the processes."""
        if self.size == 1:
            return "python"
        nodes = "" if self.size == self.local_size else f"--nnodes {self.size // self.local_size} "
        return f"torchrun {nodes}--nproc-per-node {self.local_size}"

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connect to the other processes, and disconnect at the end.

        Raises:
            LostProcessError: another process has ended, or did not answer for `MAX_WAIT`.
            ProcessError: this process failed while the others did not.
            TrainingError: all processes failed, see `together`.
            Terminated: this process received SIGTERM.

        """
        if self.size == 1:
            yield
            return
        signal.signal(signal.SIGTERM, _terminate)
        try:
            store, rank, size = next(rendezvous("env://", timeout=MAX_WAIT))
            # A restarted attempt must not read addresses that the failed one left in the store.
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            store = dist.PrefixStore(attempt, store)  # type: ignore[attr-defined]  # public, not marked as exported
            dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=MAX_WAIT)
            yield
            dist.destroy_process_group()
        except SystemExit:  # argparse has printed its message; all processes wait until the first one has
            with suppress(TrainingError), self.together():
                raise TrainingError("refuses this command line") from None
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
                f"process {self.rank} of {self.size} lost the others: one of them was killed, failed or cannot be "
                "reached; the last epoch's checkpoint is kept, and the same command with --resume continues from it "
                f"({str(error).splitlines()[0][:200]})"
            ) from error
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # only the error message is left to print

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise an error in all processes if any of them raised one inside. Inside, the processes exchange nothing.

        Raises:
            TrainingError: the messages of all processes, each once.

        """
        message = ""
        error = None
        try:
            yield
        except (TrainingError, LongtailError, OSError) as caught:
            if self.size == 1:
                raise
            message = str(caught)
            error = caught
        ranks_by_message: dict[str, list[int]] = {}
        for rank, received in enumerate(self.gather_texts(message)):
            if received:
                ranks_by_message.setdefault(received, []).append(rank)
        if ranks_by_message:
            lines = [
                text if len(ranks) == self.size else f"process {', '.join(map(str, ranks))}: {text}"
                for text, ranks in ranks_by_message.items()
            ]
            self._error_of_all = TrainingError("\n".join(lines))
            raise self._error_of_all from error

    def silence(self) -> AbstractContextManager[object]:
        """Return a context in which only the first process prints."""
        quiet = ExitStack()
        if not self.first:
            quiet.enter_context(redirect_stdout(io.StringIO()))
            quiet.enter_context(redirect_stderr(io.StringIO()))
        return quiet

    def agree(self, what: str, value: str) -> None:
        """Check that all processes have the same value.

        Args:
            what: the value's name, for the error message.
            value: this process's value.

        Raises:
            TrainingError: the values differ; in all processes.

        """
        values = self.gather_texts(value)
        with self.together():
            if len(set(values)) > 1:
                found = "; ".join(f"process {rank} has {text}" for rank, text in enumerate(values))
                raise TrainingError(f"the processes differ in {what}: {found}")

    def use(self, device: torch.device) -> None:
        """If the processes have GPUs, exchange tensors between the GPUs directly from now on."""
        if self.size > 1 and device.type == "cuda":
            torch.cuda.set_device(device)
            group = dist.new_group(backend="nccl", timeout=MAX_WAIT)
            if isinstance(group, int):  # torch's mark for a process outside the group
                raise LostProcessError(f"process {self.rank} of {self.size} is not in its own NCCL group")
            self.group = group

    def parallel(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the model to call in training; its gradients are averaged over the processes."""
        if self.size == 1:
            return model
        devices = [device] if device.type == "cuda" else None
        parallel = DistributedDataParallel(
            model, device_ids=devices, process_group=self.group, gradient_as_bucket_view=True
        )
        parallel.broadcast_buffers = False  # all processes compute the same ones
        return parallel

    def share_batch_norm(self, model: nn.Module, device: torch.device) -> None:
        """Let the model's batch norms take their statistics from the images of all processes."""
        if self.size > 1:
            share_batch_norm(model, device, self.group)

    def check_batch(self, images: int) -> None:
        """Refuse a batch size that the processes cannot share equally.

        Raises:
            TrainingError: in all processes.

        """
        if images % self.size:
            raise TrainingError(
                f"{self.size} processes cannot share a batch of {images} images equally; start a number of processes "
                "that divides it, or change the recipe with --set batch_size=NUMBER"
            )

    def generator(self, seed: int) -> torch.Generator:
        """Return a generator that draws for each image what a single process would draw for it."""
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
        """Return the rows of all processes, (b, ...) each, as (B, ...) in the order of the images, on the CPU."""
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
        """Return the first process's content in all processes."""
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
        """Return the texts of all processes, by rank."""
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
    """Give `torchrun` the message to print in its final report, in place of a traceback."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        details = {"py_callstack": sentence, "timestamp": str(int(time.time()))}
        Path(file).write_text(json.dumps({"message": {"message": sentence, "extraInfo": details}}))


def _terminate(*_: Any) -> None:
    raise Terminated
