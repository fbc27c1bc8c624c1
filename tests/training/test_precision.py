import torch
from torch import nn

from thrifty.training import precision


def test_bfloat16_is_used_where_the_processor_multiplies_it(monkeypatch) -> None:
    monkeypatch.setattr(precision, "fast_bfloat16", lambda: True)
    assert precision.best_precision().low == torch.bfloat16
    monkeypatch.setattr(precision, "fast_bfloat16", lambda: False)
    assert precision.best_precision().low == torch.float32


def test_convolutions_are_laid_out_channels_last() -> None:
    model = precision.Precision(torch.float32).place(nn.Conv2d(4, 8, 3))
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    with precision.Precision(torch.bfloat16).autocast():
        assert model(torch.zeros(1, 4, 5, 5)).dtype == torch.bfloat16
