"""Networks of the transformers library as backbones: an encoder's arrays in, one vector a row out.

Shapes: N rows, L tokens, H height, W width, C channels, T samples, F frames, M mel bands, D features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from thrifty.core.errors import DataError
from thrifty.core.files import read_json
from thrifty.models.weights import Weights

SAMPLE_RATE = 16_000


class TransformerBody(nn.Module):
    """A model of transformers, and which of its parts are layers: the list that most of its weights are in."""

    free_axes: Mapping[str, Mapping[int, str]] = {}

    def __init__(self, weights: Weights) -> None:
        """Raises DataError for a folder that transformers cannot read a model from."""
        super().__init__()
        self.encoder = read(weights.folder)
        self.width = int(getattr(self.encoder.config, "hidden_size", 0))

    @property
    def layers(self) -> Sequence[nn.Module]:
        lists = [module for module in self.encoder.modules() if isinstance(module, nn.ModuleList) and len(module)]
        sizes = [sum(p.numel() for p in module.parameters()) for module in lists]
        return list(lists[int(np.argmax(sizes))]) if lists else [self.encoder]

    @property
    def ends(self) -> Sequence[nn.Parameter]:
        inside = {id(p) for layer in self.layers for p in layer.parameters()}
        parameters = list(self.encoder.parameters())
        last = max(number for number, p in enumerate(parameters) if id(p) in inside)
        return parameters[last + 1 :]


def read(folder: Path) -> Any:
    """The model in a folder, as float32, from safetensors alone and without code of its own.

    Raises DataError where transformers knows no such architecture or the weights do not fit it.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **options)
        options |= {"use_safetensors": True, "attn_implementation": "eager", "dtype": torch.float32}
        model = transformers.AutoModel.from_pretrained(folder, config=config, **options)
    except (ValueError, OSError, KeyError, RuntimeError, ImportError, TypeError) as error:
        version, reason = transformers.__version__, " ".join(str(error).split())[:300]
        raise DataError(f"{folder}: no model that transformers {version} can read: {reason}") from error
    pooler = getattr(model, "pooler", None)
    if isinstance(pooler, nn.Module) and _has_weights(pooler):
        model.pooler = None  # is not asked for, and is not in the files of many models
    return model


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


class TextBody(TransformerBody):
    """The mean of the last layer's vectors over the tokens that `mask` shows, of `ids`; int64 [N, L] both.

    What is padding in all rows of a batch is cut off. Nothing is dropped between its layers: on a processor that takes
    a quarter of a step, and in the few epochs of fine-tuning brings nothing.
    """

    free_axes: Mapping[str, Mapping[int, str]] = {"ids": {1: "L"}, "mask": {1: "L"}}

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        if self.encoder.config.is_encoder_decoder:
            self.encoder = self.encoder.get_encoder()
        self.width = int(self.encoder.config.hidden_size)
        for module in self.encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        if not (torch.jit.is_tracing() or torch.compiler.is_exporting()):
            last_L = torch.arange(1, mask.shape[1] + 1, device=mask.device) * mask.amax(dim=0)
            longest = max(1, int(last_L.max()))
            ids, mask = ids[:, :longest], mask[:, :longest]
        x_NLD = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        seen_NL1 = mask[:, :, None].float()
        return (x_NLD * seen_NL1).sum(dim=1) / seen_NL1.sum(dim=1).clamp(min=1.0)


class ImageBody(TransformerBody):
    """Features of `pixels`, uint8 [N, H, W, C]: of tokens the first and the mean of all, of a map its mean.

    Pixels are standardised as preprocessor_config.json says. A network of patches at fixed places has the images
    enlarged to its own size.
    """

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        file = weights.folder / "preprocessor_config.json"
        told = read_json(file) if file.is_file() else {}
        for name, usual in (("mean", [0.485, 0.456, 0.406]), ("std", [0.229, 0.224, 0.225])):
            values = torch.tensor(told.get(f"image_{name}", usual), dtype=torch.float32)
            self.register_buffer(f"{name}_C11", values[:, None, None])
        config = self.encoder.config
        size = config.image_size if hasattr(config, "patch_size") else None
        self.size = int(size[0]) if isinstance(size, (list, tuple)) else size
        with torch.inference_mode():
            side = int(self.size or 64)
            self.width = int(self.forward(torch.zeros(1, side, side, 3, dtype=torch.uint8)).shape[1])

    def forward(self, pixels: Tensor) -> Tensor:
        x_NCHW = pixels.permute(0, 3, 1, 2).float() / 255.0
        if self.size is not None and int(x_NCHW.shape[2]) != self.size:
            x_NCHW = functional.interpolate(x_NCHW, (self.size, self.size), mode="bilinear")
        x_NCHW = (x_NCHW.expand(-1, 3, -1, -1) - self.mean_C11) / self.std_C11
        found = self.encoder(pixel_values=x_NCHW).last_hidden_state
        if found.ndim == 4:
            return found.mean(dim=(2, 3))
        return torch.cat([found[:, 0], found.mean(dim=1)], dim=1)


class AudioBody(TransformerBody):
    """The mean of the last layer's vectors of `waveform`, float32 [N, T] at 16 kHz, of one length.

    The wave is scaled to a variance of 1, or made a log-mel spectrogram, as the model asks for.
    """

    def __init__(self, weights: Weights, num_samples: int) -> None:
        super().__init__(weights)
        self.mel = None
        config = self.encoder.config
        if hasattr(config, "num_mel_bins") and config.model_type == "whisper":
            self.encoder = self.encoder.get_encoder()
            self.mel = _WhisperMel(int(config.num_mel_bins), num_samples)
            _shorten(self.encoder, self.mel.num_frames)
            self.width = int(config.d_model)
        elif not hasattr(config, "conv_stride"):
            raise DataError(
                f"{weights.folder}: a {config.model_type} model reads no wave; "
                "known are those like Wav2Vec2 (HuBERT, WavLM) and Whisper"
            )

    def forward(self, waveform: Tensor) -> Tensor:
        if self.mel is not None:
            return self.encoder(self.mel(waveform)).last_hidden_state.float().mean(dim=1)
        centred = waveform - waveform.mean(dim=1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-7).sqrt()
        return self.encoder(scaled).last_hidden_state.float().mean(dim=1)


def _shorten(encoder: Any, num_frames: int) -> None:
    """Has Whisper's encoder read sounds of fewer frames than the 30 seconds that it was trained on."""
    positions = min(int(encoder.config.max_source_positions), num_frames // 2)
    encoder.config.max_source_positions = encoder.max_source_positions = positions
    encoder.embed_positions = nn.Embedding.from_pretrained(encoder.embed_positions.weight[:positions].clone())


class _WhisperMel(nn.Module):
    """Log-mel spectrograms as Whisper was trained on, float32 [N, M, F], by convolutions.

    https://arxiv.org/abs/2212.04356
    """

    WINDOW, HOP = 400, 160

    mel_BM: Tensor
    waves_B1T: Tensor

    def __init__(self, num_bands: int, num_samples: int) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        frequencies = self.WINDOW // 2 + 1
        filters = mel_filter_bank(frequencies, num_bands, 0.0, 8000.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
        at = np.arange(self.WINDOW)
        window = 0.5 - 0.5 * np.cos(2 * math.pi * at / self.WINDOW)
        turns = 2 * math.pi * np.outer(np.arange(frequencies), at) / self.WINDOW
        waves = np.concatenate([np.cos(turns) * window, np.sin(turns) * window])
        self.register_buffer("mel_BM", torch.from_numpy(np.asarray(filters, np.float32)))
        self.register_buffer("waves_B1T", torch.from_numpy(waves.astype(np.float32))[:, None])
        self.num_frames = num_samples // self.HOP // 2 * 2

    def forward(self, waveform: Tensor) -> Tensor:
        padded = functional.pad(waveform[:, None], (self.WINDOW // 2, self.WINDOW // 2), mode="reflect")
        parts_N2BF = functional.conv1d(padded, self.waves_B1T, stride=self.HOP)[:, :, : self.num_frames]
        real, imaginary = parts_N2BF.chunk(2, dim=1)
        power_NBF = real.square() + imaginary.square()
        mel_NMF = torch.matmul(self.mel_BM.T, power_NBF).clamp(min=1e-10).log10()
        loudest = mel_NMF.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(mel_NMF, loudest - 8.0) + 4.0) / 4.0
