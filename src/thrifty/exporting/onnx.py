"""A torch module as an ONNX file, by the first route whose outputs are the module's own.

`torchscript` (0.03 to 0.2 s for a small network) is what PyTorch calls its legacy exporter; `dynamo` (3 s) is what will
be left when that goes.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from thrifty.core.errors import ExternalError, ThriftyError
from thrifty.core.files import replacing
from thrifty.runtime.sessions import Session

OPSET = 18
BATCHES = (1, 5)  # sizes at which a file is checked
_FAULTS = (RuntimeError, TypeError, ValueError, AttributeError, KeyError, ImportError, NotImplementedError)


@dataclass(frozen=True)
class Exported:
    """route: how the file was made; max_abs_difference: of its outputs from the module's, over the checked batches."""

    route: str
    max_abs_difference: float


def export_module(
    module: nn.Module,
    examples: Mapping[str, Tensor],
    path: Path,
    *,
    output: str = "scores",
    tolerance: float = 1e-3,
) -> Exported:
    """Writes a module whose keyword arguments are `examples` as ONNX with any number of rows.

    A module that has `write_onnx(examples, path, output)` is written by that alone. One that has `free_axes`
    ({input: {axis: name}}) takes any length along these, from 1 to the example's.

    examples: at least 5 rows of each input, realistic, for the file is checked on them. tolerance: the largest
    difference allowed, relative to the outputs' size where that is above 1. Raises ExternalError when no route holds.
    """
    module = copy.deepcopy(module).float().cpu().eval()
    examples = {name: tensor[: max(BATCHES)] for name, tensor in examples.items()}
    failures = []
    routes: Mapping[str, _Route] = {"own": _own} if hasattr(module, "write_onnx") else _ROUTES
    for route, write in routes.items():
        try:
            with replacing(path) as temporary, _quiet():
                write(module, examples, temporary, output)
                difference = _difference(module, examples, temporary, output)
                if not difference <= tolerance:
                    raise ValueError(f"outputs differ by {difference:.2g}")
            return Exported(route, difference)
        except (*_FAULTS, ThriftyError) as error:
            failures.append(f"{route}: {type(error).__name__}: {str(error)[:200]}")
    raise ExternalError("the network could not be written as ONNX; " + "; ".join(failures))


def _own(module: nn.Module, examples: Mapping[str, Tensor], path: Path, output: str) -> None:
    module.write_onnx(examples, path, output)  # type: ignore[operator]


class _Positional(nn.Module):
    """A module of keyword arguments, of any name, as one of positional ones, which this exporter traces."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, *values: Tensor) -> Tensor:
        found: Tensor = self.module(**dict(zip(self.names, values, strict=True)))
        return found


def _torchscript(module: nn.Module, examples: Mapping[str, Tensor], path: Path, output: str) -> None:
    torch.onnx.export(
        _Positional(module, tuple(examples)).eval(), tuple(examples.values()), str(path), dynamo=False,
        opset_version=OPSET - 1,
        input_names=list(examples), output_names=[output],
        dynamic_axes={name: {0: "N", **_free(module, name)} for name in (*examples, output)},
    )  # fmt: skip


def _dynamo(module: nn.Module, examples: Mapping[str, Tensor], path: Path, output: str) -> None:
    rows = torch.export.Dim("N", min=1)
    free = {axis for name in examples for axis in _free(module, name).values()}
    sizes = {axis: torch.export.Dim(axis, min=1) for axis in free}
    shapes = {name: {0: rows, **{at: sizes[axis] for at, axis in _free(module, name).items()}} for name in examples}
    program = torch.onnx.export(
        module, (), kwargs=dict(examples), dynamo=True, opset_version=OPSET, input_names=list(examples),
        output_names=[output], dynamic_shapes=shapes, verbose=False,
    )  # fmt: skip
    if program is None:
        raise RuntimeError("the exporter gave no program")
    program.save(str(path), external_data=False)


def _free(module: nn.Module, name: str) -> Mapping[int, str]:
    """{axis: name} of an input's axes of any length, beside that of rows."""
    axes: Mapping[int, str] = getattr(module, "free_axes", {}).get(name, {})
    return axes


_Route = Callable[[nn.Module, Mapping[str, Tensor], Path, str], None]
_ROUTES: Mapping[str, _Route] = {
    "torchscript": _torchscript,
    "dynamo": _dynamo,
}


def _difference(module: nn.Module, examples: Mapping[str, Tensor], path: Path, output: str) -> float:
    session = Session(path)
    largest = 0.0
    shorter = any(_free(module, name) for name in examples)
    for num_rows, shorten in [(n, short) for n in BATCHES for short in ((False, True) if shorter else (False,))]:
        batch = {name: tensor[:num_rows] for name, tensor in examples.items()}
        if shorten:
            batch = {name: _shortened(tensor, _free(module, name)) for name, tensor in batch.items()}
        with torch.inference_mode():
            expected = module(**batch).numpy()
        (got,) = session.run([output], {name: tensor.numpy() for name, tensor in batch.items()})
        if got.shape != expected.shape:
            raise ValueError(f"outputs have shape {got.shape}, not {expected.shape}")
        if not np.isfinite(got - expected).all():
            raise ValueError("outputs are not finite")
        size = max(1.0, float(np.abs(expected).max(initial=0.0)))
        largest = max(largest, float(np.abs(got - expected).max(initial=0.0)) / size)
    return largest


def _shortened(tensor: Tensor, axes: Mapping[int, str]) -> Tensor:
    """The first half along each of the axes."""
    for axis in axes:
        tensor = tensor.narrow(axis, 0, max(1, tensor.shape[axis] // 2))
    return tensor


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' warnings and log lines, which concern their authors."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
