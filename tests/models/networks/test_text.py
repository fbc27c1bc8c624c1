"""The network on tokens: what it looks at, and its files."""

from pathlib import Path

import pytest
import torch

from thrifty.exporting.onnx import export_module
from thrifty.models.networks.output import InUnits
from thrifty.models.networks.text import TextNetwork


def batch(num_rows: int = 8, length: int = 12) -> dict[str, torch.Tensor]:
    ids = torch.randint(1, 60, (num_rows, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    for row in range(num_rows):
        mask[row, 3 + row :] = 0
    mask[-1] = 0
    return {"ids": ids * mask, "mask": mask}


def network(num_layers: int) -> TextNetwork:
    torch.manual_seed(0)
    return TextNetwork(60, 3, width=16, num_layers=num_layers, dropout=0.4).eval()


@pytest.mark.parametrize("num_layers", [0, 2])
def test_a_row_gives_the_same_alone_and_however_it_is_padded(num_layers: int) -> None:
    made, rows = network(num_layers), batch()
    with torch.inference_mode():
        scores = made(**rows)
        padded = {name: torch.nn.functional.pad(value, (0, 9)) for name, value in rows.items()}
        assert torch.allclose(made(**padded), scores, atol=1e-6)
        padded["ids"][:, 12:] = 5  # which the mask hides
        assert torch.allclose(made(**padded), scores, atol=1e-6)
        for row in range(8):
            alone = made(**{name: value[row : row + 1] for name, value in rows.items()})
            assert torch.allclose(alone[0], scores[row], atol=1e-6)
    assert scores.abs().max() < 10  # a row without any token too


def test_neighbours_count_with_layers_alone() -> None:
    ids, mask = torch.tensor([[1, 2, 3], [3, 2, 1]]), torch.ones(2, 3, dtype=torch.long)
    with torch.inference_mode():
        for num_layers, same in ((0, True), (1, False)):
            first, second = network(num_layers)(ids=ids, mask=mask)
            assert torch.allclose(first, second, atol=1e-6) == same


def test_tokens_hidden_in_the_middle_leave_the_last_ones_to_be_seen() -> None:
    ids, mask = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 0, 0, 1]])
    with torch.inference_mode():
        scores = network(0)(ids=ids, mask=mask)
        assert torch.allclose(scores, network(0)(ids=torch.tensor([[1, 4]]), mask=torch.ones(1, 2).long()), atol=1e-6)


@pytest.mark.parametrize("num_layers", [0, 1])
def test_it_is_written_as_onnx_for_any_length_in_the_targets_units_too(tmp_path: Path, num_layers: int) -> None:
    made = InUnits(network(num_layers), 5.0, 2.0)
    assert export_module(made, batch(), tmp_path / "network.onnx").max_abs_difference < 1e-5
