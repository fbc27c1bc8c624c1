"""EfficientNet-Lite0 with random weights: the file, the network to train on, and timm's names for the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from thrifty.core.errors import DataError
from thrifty.models.backbones import efficientnet_lite
from thrifty.models.backbones.efficientnet_lite_network import EfficientNetLite
from thrifty.runtime.sessions import Session


def timm_name(name: str) -> str:
    """timm's name of a published one."""
    first, *rest = name.split(".")
    if first != "_blocks":
        ends = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
        return ".".join([ends[first], *rest])
    stages = [(s, r) for s, stage in enumerate(efficientnet_lite.STAGES) for r in range(stage.repeats)]
    stage, repeat = stages[int(rest[0])]
    narrow = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    wide = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
            "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
    return ".".join(["blocks", str(stage), str(repeat), (wide if stage else narrow)[rest[1]], *rest[2:]])


def test_the_file_of_timms_weights_gives_what_the_network_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = EfficientNetLite({}).eval()
    for name, buffer in network.named_buffers():
        if "running_var" in name:
            buffer.uniform_(0.5, 1.5)
    state = {timm_name(name): t for name, t in network.state_dict().items() if "num_batches" not in name}
    save_file(state, tmp_path / "model.safetensors")
    session = Session(efficientnet_lite.write(tmp_path / "model.safetensors", tmp_path / "features.onnx"))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 41, 32, 3), dtype=np.uint8)
    (ours,) = session.run(["features"], {"pixels": pixels})
    with torch.inference_mode():
        expected = network(pixels=torch.from_numpy(pixels)).numpy()
    assert np.abs(ours - expected).max() < 1e-4
    again = EfficientNetLite(efficientnet_lite.read_weights(tmp_path / "model.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="not the weights of EfficientNet-Lite0"):
        efficientnet_lite.read_weights(tmp_path / "model.safetensors")
