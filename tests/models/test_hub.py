"""The hub, with a local server and stand-ins in its place."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from thrifty.core.errors import ExternalError, UsageError
from thrifty.models import hub

huggingface_hub = pytest.importorskip("huggingface_hub")


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path | None, asked: list[str], kept: bool = False) -> None:
    """Puts functions of our own in the place of huggingface_hub's; `folder` is what they give."""

    def download(name: str, local_files_only: bool = False, **options: Any) -> str:
        if folder is None or (local_files_only and not kept):
            raise FileNotFoundError(name)
        assert all(not file.endswith((".bin", ".py", ".pt", ".pkl")) for file in options["allow_patterns"])
        return str(folder)

    def model_info(self: Any, name: str, timeout: float) -> None:
        assert timeout <= 2.0
        asked.append(name)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)


def whole(folder: Path) -> Path:
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    return folder


def test_a_model_is_fetched_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    stand_in(monkeypatch, whole(tmp_path), asked)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert hub.folder_of("owner/name", offline=False) == tmp_path
    assert asked == ["owner/name"]


def test_what_was_fetched_before_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    stand_in(monkeypatch, whole(tmp_path), asked, kept=True)
    assert hub.folder_of("owner/name", offline=True) == tmp_path
    assert asked == []


@pytest.mark.parametrize("how", ["option", "environment"])
def test_offline_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str) -> None:
    asked: list[str] = []
    stand_in(monkeypatch, whole(tmp_path), asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if how == "environment" else "0")
    with pytest.raises(ExternalError, match="--offline"):
        hub.folder_of("owner/name", offline=how == "option")
    assert asked == []


def test_a_hub_that_fails_is_said_in_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(500, "out of order")

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(hub, "_kept", lambda name: None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    api = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api(endpoint=f"http://127.0.0.1:{server.server_port}"))
    try:
        with pytest.raises(ExternalError, match="could not be fetched"):
            hub.folder_of("owner/name", offline=False)
    finally:
        server.shutdown()


def test_what_is_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a folder nor the name"):
        hub.folder_of(str(tmp_path / "missing"), offline=False)
