from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from thrifty.core.errors import ExternalError
from thrifty.exporting import onnx as exporting
from thrifty.exporting.onnx import export_module


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(dim=(2, 3)))


EXAMPLES = {"x": torch.randn(6, 1, 7, 7)}


def test_a_network_is_written_as_for_prediction_with_any_number_of_rows(tmp_path: Path) -> None:
    network = Net().train()
    exported = export_module(network, EXAMPLES, tmp_path / "net.onnx")
    assert exported.route == "torchscript"
    assert exported.max_abs_difference < 1e-5
    assert network.training


@pytest.mark.slow
def test_the_dynamo_route_holds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_ROUTES", {"dynamo": exporting._dynamo})
    assert export_module(Net(), EXAMPLES, tmp_path / "net.onnx").route == "dynamo"


def test_a_route_that_fails_or_gives_other_outputs_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("gone in this version")

    def wrong(module: nn.Module, examples: dict[str, Tensor], path: Path, output: str) -> None:
        exporting._torchscript(Net().eval(), examples, path, output)

    routes = {"gone": fails, "wrong": wrong, "right": exporting._torchscript}
    monkeypatch.setattr(exporting, "_ROUTES", routes)
    assert export_module(Net(), EXAMPLES, tmp_path / "net.onnx").route == "right"
    monkeypatch.setattr(exporting, "_ROUTES", {"gone": fails, "wrong": wrong})
    with pytest.raises(ExternalError, match=r"gone: RuntimeError: gone in this version; wrong: .*differ by"):
        export_module(Net(), EXAMPLES, tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()


def test_a_file_that_gives_no_numbers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * float("nan")

    def undefined(module: nn.Module, examples: dict[str, Tensor], path: Path, output: str) -> None:
        exporting._torchscript(Nothing().eval(), examples, path, output)

    monkeypatch.setattr(exporting, "_ROUTES", {"undefined": undefined})
    with pytest.raises(ExternalError, match="outputs are not finite"):
        export_module(Net(), EXAMPLES, tmp_path / "net.onnx")
