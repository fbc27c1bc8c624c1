"""Every kind of encoder by name, and encoders as JSON with files beside it."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.core.errors import StoreError
from thrifty.core.files import replacing
from thrifty.data.encode.encoder import Encoder

REGISTRY: Mapping[str, str] = {
    "number": "number:Number",
    "category": "category:Category",
    "timestamp": "timestamp:Timestamp",
    "tfidf": "tfidf:Tfidf",
    "text_statistics": "text_statistics:TextStatistics",
    "tokens": "tokens:Tokens",
    "image": "image:Image",
    "image_statistics": "image_statistics:ImageStatistics",
    "log_mel": "log_mel:LogMel",
    "log_mel_statistics": "log_mel_statistics:LogMelStatistics",
    "waveform": "waveform:Waveform",
}
"""The module below `thrifty.data.encode` and the class of each kind, so that only those in use are imported."""


def encoder_class(kind: str) -> type[Encoder]:
    """The class of a kind of encoder. Raises StoreError for one that this version does not have."""
    if kind not in REGISTRY:
        raise StoreError(f"an encoder of unknown kind {kind!r}; this version has {', '.join(REGISTRY)}")
    module, name = REGISTRY[kind].split(":")
    found: type[Encoder] = getattr(import_module(f"thrifty.data.encode.{module}"), name)
    return found


def save_encoder(encoder: Encoder, folder: Path, name: str) -> dict[str, Any]:
    """The encoder as JSON; its large state goes to files NAME.KEY.npy and NAME.KEY.txt in `folder`."""
    value = encoder.to_json()
    files = {}
    for key, content in encoder.state().items():
        text = isinstance(content, str)
        files[key] = f"{name}.{key}.{'txt' if text else 'npy'}"
        with replacing(folder / files[key]) as temporary:
            if isinstance(content, str):
                temporary.write_text(content, encoding="utf-8", newline="")
            else:
                with temporary.open("wb") as file:
                    np.save(file, content, allow_pickle=False)
    return {**value, "files": files} if files else value


def load_encoder(folder: Path, value: Mapping[str, Any]) -> Encoder:
    """The encoder that `save_encoder` wrote. Raises StoreError when it cannot be read."""
    state: dict[str, np.ndarray | str] = {}
    cls = encoder_class(value["kind"])
    try:
        for key, name in value.get("files", {}).items():
            path = folder / name
            if name.endswith(".txt"):
                state[key] = path.read_bytes().decode("utf-8")
            else:
                state[key] = np.load(path, allow_pickle=False)
        return cls.from_json(value, state)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the encoder {value.get('kind')} in {folder} cannot be read: {error!r}") from error
