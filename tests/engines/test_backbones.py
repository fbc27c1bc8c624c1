"""Tiny models of transformers, made here with random weights, as frozen features and trained on."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from thrifty.core.errors import DataError
from thrifty.data.cache import Cache
from thrifty.data.prepare import prepare
from thrifty.engines.backbones import body, embedding
from thrifty.engines.pytorch import fit
from thrifty.engines.trial import parity_rows
from thrifty.exporting.onnx import export_module
from thrifty.models.networks.finetuned import FineTuned
from thrifty.models.weights import of_folder
from thrifty.recipe import ImageFinetune, Preparation, Recipe, Training, to_json
from thrifty.runtime.graph import Graph
from thrifty.runtime.sessions import Session
from thrifty.testing.executors import RecordingChannel

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def saved(folder: Path, model: str) -> Path:
    """The folder of a tiny model, as save_pretrained writes it."""
    t = transformers
    wave = {**SMALL, "conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2}  # fmt: skip
    whisper = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
               "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "vocab_size": 60,
               "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}  # fmt: skip
    configs = {
        "bert": lambda: t.BertConfig(vocab_size=50, **SMALL, hidden_act="relu"),
        "distilbert": lambda: t.DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=24),
        "roberta": lambda: t.RobertaConfig(vocab_size=50, **SMALL, pad_token_id=0),
        "vit": lambda: t.ViTConfig(image_size=32, patch_size=8, **SMALL),
        "resnet": lambda: t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
        "convnext": lambda: t.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
        "wav2vec2": lambda: t.Wav2Vec2Config(**wave, num_feat_extract_layers=2),
        "whisper": lambda: t.WhisperConfig(**whisper),
    }
    torch.manual_seed(0)
    t.AutoModel.from_config(configs[model]()).save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    return folder


KINDS = {
    "bert": "text", "distilbert": "text", "roberta": "text", "vit": "image", "resnet": "image", "convnext": "image",
    "wav2vec2": "speech", "whisper": "speech",
}  # fmt: skip


def rows(kind: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    if kind == "image":
        return {"pixels": rng.integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)}
    if kind == "speech":
        return {"waveform": (0.1 * rng.standard_normal((6, 8000))).astype(np.float32)}
    mask = (np.arange(9)[None] < np.array([9, 8, 7, 5, 3, 2])[:, None]).astype(np.int64)
    return {"ids": rng.integers(5, 50, (6, 9)) * mask, "mask": mask}


@pytest.mark.parametrize("model", list(KINDS))
def test_features_of_a_folder_are_written_once_and_are_those_of_the_network(model: str, tmp_path: Path) -> None:
    kind: Any = KINDS[model]
    weights = of_folder(kind, saved(tmp_path / "model", model))
    assert weights.architecture == "transformers"
    made = embedding(weights, Cache(tmp_path / "cache"), 40, 0.5)
    feed = rows(kind)
    (whole,) = Session(made.path).run(["features"], feed)
    assert whole.shape[0] == 6
    assert np.isfinite(whole).all()
    with torch.inference_mode():
        expected = body(weights, 0.5).eval()(**{name: torch.from_numpy(array) for name, array in feed.items()})
    if kind == "text":
        expected = torch.nn.functional.normalize(expected, dim=1)
    assert np.abs(whole - expected.numpy()).max() < 1e-3
    at = made.path.stat().st_mtime_ns
    assert embedding(weights, Cache(tmp_path / "cache"), 40, 0.5).path.stat().st_mtime_ns == at


@pytest.mark.parametrize(
    ("model", "tuned"),
    [("distilbert", "lora"), ("vit", "full"), ("resnet", "last"), ("wav2vec2", "last"), ("whisper", "lora")],
)
def test_a_folder_is_trained_on_and_written_as_onnx(model: str, tuned: Any, tmp_path: Path) -> None:
    weights = of_folder(KINDS[model], saved(tmp_path / "model", model))  # type: ignore[arg-type]
    network = FineTuned(body(weights, 0.5), 3, tuned, 1, 0.0).train()
    examples = {name: torch.from_numpy(array) for name, array in rows(KINDS[model]).items()}
    optimizer = torch.optim.AdamW(network.parameter_groups(0.0), lr=1e-2)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(**examples), torch.arange(6) % 3).backward()
        optimizer.step()
    changed = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert {name for name in changed if name.startswith("body")}
    assert changed <= {name for name, p in network.named_parameters() if p.requires_grad}
    network.eval().merge()
    assert export_module(network, examples, tmp_path / "network.onnx").max_abs_difference < 1e-3


def test_a_recipe_that_names_a_folder_is_trained_and_its_model_predicts_from_raw_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for row in range(40):
        place = tmp_path / "pictures" / ("bright", "dark")[row % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (16, 16)) + (row % 2 == 0) * 120
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{row}.png")
    dataset = prepare(str(tmp_path / "pictures"), folder=tmp_path / "data").dataset
    preparation = Preparation(image_size=32, image_backbone=str(saved(tmp_path / "model", "resnet")))
    training = Training(epochs=6, batch_size=16, learning_rate=1e-2, augmentation=0.0)
    recipe = Recipe(preparation, ImageFinetune(tuned="full"), training)
    (tmp_path / "trial").mkdir()
    plain = {"data": str(tmp_path / "data"), "folder": str(tmp_path / "trial"), "cache": str(tmp_path / "cache")}
    result = fit({**plain, "recipe": to_json(recipe), "rows": "train", "metric": "accuracy"}, RecordingChannel())
    assert result["value"] >= 0.9
    rows = parity_rows(dataset.splits)
    scores = Graph.load(tmp_path / "trial" / "model").scores(dataset.columns(rows), len(rows))
    assert np.abs(scores - np.load(tmp_path / "trial" / "parity.npy")).max() < 1e-3


def test_an_unknown_architecture_is_refused_by_name(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", "vit")
    (folder / "config.json").write_text(json.dumps({"model_type": "never_heard_of"}))
    with pytest.raises(DataError, match="never_heard_of"):
        body(of_folder("image", folder))


def test_a_model_that_reads_no_wave_is_refused_for_sounds(tmp_path: Path) -> None:
    weights = of_folder("image", saved(tmp_path / "model", "vit"))
    with pytest.raises(DataError, match="reads no wave"):
        body(dataclasses.replace(weights, kind="speech"))
