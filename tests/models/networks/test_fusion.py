"""The late-fusion network by itself."""

import numpy as np
import torch

from thrifty.models.networks.fusion import FusionNetwork, kinds_of
from thrifty.models.networks.image import ImageNetwork


def test_blocks_of_a_column_of_one_kind_belong_together() -> None:
    names = ["image_embedding", "text_embedding", "image_statistics", "numbers", "log_mel_statistics", "categories"]
    assert kinds_of(names, [1, 2, 1, 1, 1, 1]).tolist() == [0, 1, 1, 0, 2, 3, 2]


def test_an_image_that_is_missing_is_not_looked_at() -> None:
    torch.manual_seed(0)
    image = ImageNetwork(16, 1, 8, 4, 1, 0.0)
    network = FusionNetwork(np.array([0, 0, 1]), 3, 8, 0.0, 0.0, image).eval()
    features, pixels = torch.randn(4, 3), torch.randint(1, 256, (4, 16, 16, 1), dtype=torch.uint8)
    pixels[0] = 0
    with torch.inference_mode():
        before = network(features, pixels)
        for parameter in image.head.parameters():
            parameter.neg_()
        after = network(features, pixels)
    assert before.shape == (4, 3)
    assert torch.equal(before[0], after[0])
    assert not torch.isclose(before[1:], after[1:]).all()


def test_kinds_are_left_out_at_random_in_training_alone() -> None:
    torch.manual_seed(0)
    network = FusionNetwork(np.array([0, 0, 1]), 3, 8, 0.0, 0.5)
    features = torch.randn(1, 3).repeat(200, 1)
    with torch.inference_mode():
        dropped = network.train()(features)
        assert len({tuple(row) for row in dropped.round(decimals=4).tolist()}) == 4  # each of two kinds in or out
        assert torch.allclose(network.eval()(features), network(features[:1]), atol=1e-5)
