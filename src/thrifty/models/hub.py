"""Models of the Hugging Face hub, asked for by name: `owner/name` in, a folder on this machine out.

The hub is asked once whether it has the model, and must answer within `ANSWER_SECONDS`. What was fetched before is used
without asking. HF_ENDPOINT and HF_HOME mean what they mean to huggingface_hub.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from thrifty.core.errors import ExternalError, MissingExtraError, UsageError

ANSWER_SECONDS = 2.0
FILES = ("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json", "README.md")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def forbidden(offline: bool) -> bool:
    """Whether `--offline` or HF_HUB_OFFLINE says not to ask."""
    return offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def folder_of(name: str, offline: bool) -> Path:
    """The folder of a model of the hub, from this machine's cache of it or fetched now: FILES alone, never code.

    Raises UsageError for what is no such name and for a model that the hub has not, ExternalError when the hub may not
    be asked, or does not answer, and the model is not in the cache.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is neither a folder nor the name of a model, like sentence-transformers/all-MiniLM-L6-v2"
        )
    known = _kept(name)
    if known is not None:
        return known
    if forbidden(offline):
        raise ExternalError(
            f"{name} is no folder here and was not fetched before, and --offline or HF_HUB_OFFLINE forbids to ask the "
            "hub; name a folder"
        )
    return _fetch(name)


def _kept(name: str) -> Path | None:
    """The folder in the cache, when it holds a whole model."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("models of the hub", "pretrained", "huggingface_hub") from error
    try:
        folder = Path(snapshot_download(name, allow_patterns=list(FILES), local_files_only=True))
    except Exception:  # noqa: BLE001  whatever the cache lacks, the hub is asked for
        return None
    return folder if (folder / "config.json").exists() and (folder / "model.safetensors").exists() else None


def _fetch(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        HfApi().model_info(name, timeout=ANSWER_SECONDS)
        return Path(snapshot_download(name, allow_patterns=list(FILES), etag_timeout=ANSWER_SECONDS))
    except RepositoryNotFoundError as error:
        raise UsageError(f"the hub has no model {name!r} (or it is not public), and there is no such folder") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ExternalError(f"{name} could not be fetched from the hub: {reason}; name a folder instead") from error
