import pytest
import torch

from thrifty.models.networks.layers import Dropout, random_bytes


def test_random_bytes_take_every_value_about_as_often() -> None:
    torch.manual_seed(0)
    found = random_bytes((1001, 257), torch.device("cpu"))
    assert found.shape == (1001, 257)
    counts = torch.bincount(found.flatten().long(), minlength=256).float()
    assert counts.min() > 0.85 * counts.mean()
    assert counts.max() < 1.15 * counts.mean()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_dropout_leaves_out_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(0)
    drop = Dropout(share)
    found = drop(torch.ones(400, 300))
    assert (found == 0).float().mean().item() == pytest.approx(share, abs=0.01)
    assert found.mean().item() == pytest.approx(1.0, abs=0.03)


def test_dropout_does_nothing_when_the_network_answers_or_the_share_is_0() -> None:
    x = torch.randn(5, 7)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_same_seed_drops_the_same() -> None:
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(Dropout(0.3)(torch.ones(64, 64)))
    assert torch.equal(*found)
