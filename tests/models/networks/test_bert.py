"""A tiny BERT with random weights, trained on and written as ONNX."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from thrifty.exporting.onnx import export_module
from thrifty.models.networks.bert import BertNetwork
from thrifty.models.weights import Weights

pytest.importorskip("transformers")


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, intermediate_size=32,
        max_position_embeddings=40,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"
    return Weights("text", "tiny", tmp_path, ("model.safetensors",), "here", "none")


def batch() -> dict[str, torch.Tensor]:
    ids = torch.from_numpy(np.random.default_rng(0).integers(1, 60, (8, 12)))
    mask = torch.ones_like(ids)
    for row in range(8):
        mask[row, 3 + row :] = 0
    return {"ids": ids * mask, "mask": mask}


def test_the_written_network_gives_the_same_scores_however_rows_are_padded(weights: Weights, tmp_path: Path) -> None:
    network = BertNetwork(weights, 3, num_trained=2, dropout=0.0).eval()
    torch.nn.init.normal_(network.head.weight)
    network.to_units(5.0, 2.0)
    exported = export_module(network, batch(), tmp_path / "network.onnx")
    assert exported.route == "own"
    assert exported.max_abs_difference < 1e-5
    with torch.inference_mode():
        padded = {name: torch.nn.functional.pad(value, (0, 9)) for name, value in batch().items()}
        assert torch.allclose(network(**padded), network(**batch()), atol=1e-5)


def test_a_hidden_token_does_not_cut_off_the_end_of_a_text(weights: Weights) -> None:
    body = BertNetwork(weights, 3, num_trained=2, dropout=0.0).eval().body
    ids = torch.arange(1, 9)[None]
    mask = torch.tensor([[1, 1, 0, 1, 0, 1, 1, 1]])
    with torch.inference_mode():
        assert not torch.allclose(body(ids, mask), body(ids.index_fill(1, torch.tensor([7]), 30), mask), atol=1e-3)


def test_nothing_is_dropped_between_the_layers_of_the_encoder(weights: Weights) -> None:
    network = BertNetwork(weights, 3, num_trained=2, dropout=0.5)
    torch.nn.init.normal_(network.head.weight)
    with torch.inference_mode():
        features = [network.train(mode).body(**batch()) for mode in (True, False)]
        scores = [network.train(mode)(**batch()) for mode in (True, False)]
    assert torch.equal(*features)
    assert not torch.equal(*scores)


def test_only_the_upper_layers_are_trained_each_lower_one_more_slowly(weights: Weights) -> None:
    network = BertNetwork(weights, 2, num_trained=2, dropout=0.1)
    groups = network.parameter_groups(0.1)
    grouped = {id(p) for group in groups for p in group["params"]}
    assert grouped == {id(p) for p in network.parameters() if p.requires_grad}
    assert [group["factor"] for group in groups[::2]] == [10.0, 1.0, 0.85]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0] * 3
    assert not any(p.requires_grad for p in network.body.encoder.embeddings.parameters())
    assert not any(p.requires_grad for p in network.body.encoder.encoder.layer[0].parameters())
