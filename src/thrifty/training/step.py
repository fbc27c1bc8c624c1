"""One step of the optimizers on a batch, which goes through the network in as many parts as memory needs.

The parts' gradients add up to those of the whole batch, but for rounding; batch normalisation sees each part alone.
"""

from __future__ import annotations

import math
import time

import torch

from thrifty.core import seeds
from thrifty.core.errors import ExternalError
from thrifty.training.batches import Batch
from thrifty.training.compiling import Compiling
from thrifty.training.events import Compiled, MemoryRanOut
from thrifty.training.losses import Loss
from thrifty.training.parallel import Ranks
from thrifty.training.precision import Precision
from thrifty.training.state import State

SCALE = 2.0**16  # of the loss in float16, at the start
SCALE_STEPS = 1000  # after so many good ones in a row the scale is doubled


class Stepper:
    """Takes steps at the state's learning rate.

    compile: see `Compiling.wanted`. With several processes an out-of-memory error ends the training, since the others
    could not know of it.
    """

    def __init__(
        self,
        state: State,
        loss: Loss,
        precision: Precision,
        ranks: Ranks,
        *,
        clip_norm: float = math.inf,
        seed: int = 0,
        compile: bool | None = False,  # noqa: A002
    ) -> None:
        self.state, self.loss, self.precision, self.ranks = state, loss, precision, ranks
        self.clip_norm, self.seed = clip_norm, seed
        self.parameters = [p for p in state.model.parameters() if p.requires_grad]
        self.compiling = Compiling(ranks.together(state.model), precision.device, compile)
        self.news: list[MemoryRanOut | Compiled] = []
        state.loss_scale = state.loss_scale or (SCALE if precision.scaled else 1.0)

    def told(self) -> list[MemoryRanOut | Compiled]:
        """What happened since the last call."""
        news, self.news = self.news, []
        return news

    def take(self, batch: Batch, seconds_left: float) -> float:
        """The batch's mean loss; when it or a gradient is not finite no step is taken, and that is given.

        seconds_left: for all steps to come; infinite where there is no bound.
        """
        began = time.perf_counter()
        for optimizer in self.state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.state.learning_rate * group["factor"]
        value, norm = self._gradients(batch)
        if math.isfinite(value) and math.isfinite(norm):
            self._clip(norm)
            for optimizer in self.state.optimizers:
                optimizer.step()
        elif not self._scale_down(value):
            return value if not math.isfinite(value) else norm
        self.state.step += 1
        self.state.step_in_epoch += 1
        self._tell(self.compiling.after(self.state.step, time.perf_counter() - began, seconds_left))
        return value

    def _gradients(self, batch: Batch) -> tuple[float, float]:
        """Leaves the scaled gradients of the batch; gives its loss and their norm."""
        while True:
            try:
                return self._accumulate(batch)
            except Exception as error:
                if is_out_of_memory(error):
                    self._shrink(len(batch.targets_NK), error)
                elif not self._tell(self.compiling.failed(self.state.step, error)):
                    raise
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _accumulate(self, batch: Batch) -> tuple[float, float]:
        state, network = self.state, self.compiling.network
        torch.manual_seed(seeds.derive(self.seed, "network", state.epoch, state.step_in_epoch, self.ranks.rank))
        for parameter in self.parameters:
            parameter.grad = None
        num_rows = self.ranks.sum(len(batch.targets_NK))
        parts = split(batch, state.micro_batch)
        total = torch.zeros((), device=self.precision.device)
        for number, part in enumerate(parts):
            if number + 1 < len(parts):
                with self.ranks.apart(network):
                    total += self._backward(part, num_rows)
            else:
                total += self._backward(part, num_rows)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        value, found = torch.stack([total, norm]).tolist()  # the one wait for a GPU
        return self.ranks.sum(value), found / state.loss_scale

    def _backward(self, part: Batch, num_rows: float) -> torch.Tensor:
        """Adds the gradients of a part of a batch of `num_rows` rows; gives its share of the mean loss."""
        move = self.precision.move
        inputs = {name: move(tensor) for name, tensor in part.inputs.items()}
        with self.precision.autocast():
            scores_NK = self.compiling.network(**inputs)
        loss = (self.loss(scores_NK, move(part.targets_NK)) * move(part.weights_N)).sum() / num_rows
        (loss * (self.state.loss_scale * self.ranks.size)).backward()  # processes' gradients are averaged
        return loss.detach()

    def _shrink(self, num_rows: int, error: Exception) -> None:
        """Halves the parts that batches are taken in. Raises ExternalError where that cannot be."""
        size = min(self.state.micro_batch or num_rows, num_rows)
        if self.ranks.size > 1:
            raise ExternalError(
                f"{size} rows at a time do not fit into the memory of process {self.ranks.rank}; set a micro_batch "
                "below that, a smaller network or smaller inputs"
            ) from error
        if size == 1:
            raise ExternalError(
                f"training step {self.state.step + 1} does not fit into memory even with one row at a time; choose a "
                "smaller network or smaller inputs (images, texts), or give it more memory"
            ) from error
        self.state.micro_batch = (size + 1) // 2
        self.news.append(MemoryRanOut(self.state.step, self.state.micro_batch))

    def _clip(self, norm: float) -> None:
        """Brings the gradients to the loss's own scale and their norm to `clip_norm` at most."""
        factor = min(1.0, self.clip_norm / (norm + 1e-6)) / self.state.loss_scale
        if factor != 1.0:
            torch._foreach_mul_([p.grad for p in self.parameters if p.grad is not None], factor)
        if self.precision.scaled:
            self.state.good_steps += 1
            if self.state.good_steps % SCALE_STEPS == 0:
                self.state.loss_scale *= 2.0

    def _scale_down(self, value: float) -> bool:
        """Halves the scale when it is what made gradients infinite, so that the step is left out; else False."""
        if not self.precision.scaled or not math.isfinite(value) or self.state.loss_scale < 1.0:
            return False
        self.state.loss_scale, self.state.good_steps = self.state.loss_scale / 2.0, 0
        return True

    def _tell(self, event: Compiled | None) -> bool:
        if event is not None:
            self.news.append(event)
        return event is not None


def split(batch: Batch, size: int) -> list[Batch]:
    """The batch in parts of at most `size` rows and as even as can be; 0 leaves it whole."""
    num_rows = len(batch.targets_NK)
    if not 0 < size < num_rows:
        return [batch]
    count = math.ceil(num_rows / size)
    inputs = {name: tensor.tensor_split(count) for name, tensor in batch.inputs.items()}
    targets, weights = batch.targets_NK.tensor_split(count), batch.weights_N.tensor_split(count)
    return [
        Batch({name: parts[number] for name, parts in inputs.items()}, targets[number], weights[number])
        for number in range(count)
    ]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator said that memory is used up, of a GPU or of the processor."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
