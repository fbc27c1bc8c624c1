import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.nn import functional

from thrifty.core.errors import DataError
from thrifty.models.backbones import bert
from thrifty.runtime.sessions import Session

WIDTH, HEADS, LAYERS, INNER, WORDS, POSITIONS = 16, 4, 2, 32, 50, 24


def make(folder: Path, **config: object) -> dict[str, np.ndarray]:
    """A tiny encoder with random weights."""
    rng = np.random.default_rng(0)
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        for name, (out, inner) in {
            "attention.self.query": (WIDTH, WIDTH), "attention.self.key": (WIDTH, WIDTH),
            "attention.self.value": (WIDTH, WIDTH), "attention.output.dense": (WIDTH, WIDTH),
            "intermediate.dense": (INNER, WIDTH), "output.dense": (WIDTH, INNER),
        }.items():  # fmt: skip
            shapes[f"{at}.{name}.weight"] = (out, inner)
            shapes[f"{at}.{name}.bias"] = (out,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{at}.{name}.weight"] = shapes[f"{at}.{name}.bias"] = (WIDTH,)
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors")
    default = {
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": WIDTH, "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS, "layer_norm_eps": 1e-12,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**default, **config}))
    return weights


def expected(weights: dict[str, np.ndarray], ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The same encoder in plain torch."""
    w = {name: torch.from_numpy(value) for name, value in weights.items()}

    def dense(at: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, w[f"{at}.weight"], w[f"{at}.bias"])

    def norm(at: str, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, (WIDTH,), w[f"{at}.weight"], w[f"{at}.bias"], 1e-12)

    x = w["embeddings.word_embeddings.weight"][torch.from_numpy(ids)]
    x = x + w["embeddings.position_embeddings.weight"][: ids.shape[1]] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm("embeddings.LayerNorm", x)
    shown = torch.from_numpy(mask).bool()
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        q, k, v = (
            dense(f"{at}.attention.self.{name}", x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=shown[:, None, None])
        x = norm(
            f"{at}.attention.output.LayerNorm",
            x + dense(f"{at}.attention.output.dense", mixed.transpose(1, 2).flatten(2)),
        )
        inner = dense(f"{at}.output.dense", functional.gelu(dense(f"{at}.intermediate.dense", x)))
        x = norm(f"{at}.output.LayerNorm", x + inner)
    return functional.normalize((x * shown[..., None]).sum(dim=1), dim=1).numpy()


def test_the_graph_gives_what_the_encoder_gives_alone_and_padded_in_a_batch(tmp_path: Path) -> None:
    weights = make(tmp_path)
    session = Session(bert.write(tmp_path, tmp_path / "bert.onnx"))
    ids = np.random.default_rng(1).integers(0, WORDS, (3, 9))
    mask = np.ones((3, 9), np.int64)
    mask[1, 4:] = 0
    (got,) = session.run(["features"], {"ids": ids, "mask": mask})
    assert np.abs(got - expected(weights, ids, mask)).max() < 1e-5
    (alone,) = session.run(["features"], {"ids": ids[1:2, :4], "mask": mask[1:2, :4]})
    assert np.abs(alone - got[1]).max() < 1e-5


def test_weights_are_found_under_the_names_of_the_first_files(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    weights = make(tmp_path)
    make(tmp_path / "first")
    older = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {f"bert.{name}": value for name, value in weights.items()}
    for now, then in older.items():
        renamed = {name.replace(now, then): value for name, value in renamed.items()}
    save_file(renamed, tmp_path / "first" / "model.safetensors")
    written = [bert.write(folder, folder / "bert.onnx").read_bytes() for folder in (tmp_path, tmp_path / "first")]
    assert written[0] == written[1]


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path, model_type="roberta")
    with pytest.raises(DataError, match="roberta"):
        bert.write(tmp_path, tmp_path / "bert.onnx")
