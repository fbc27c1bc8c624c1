"""The real backbones, where their packages are installed."""

from pathlib import Path

import numpy as np
import pytest

from thrifty.data.cache import Cache
from thrifty.models import weights
from thrifty.models.backbones.files import Backbone, backbone
from thrifty.runtime.sessions import Session


def found(kind: weights.Kind, cache: Path, image_size: int | None = None) -> tuple[Backbone, Session]:
    some = weights.find(kind)
    if some is None:
        pytest.skip(f"no {kind} weights are installed")
    made = backbone(some, Cache(cache), image_size)
    return made, Session(made.path)


def same_alone(session: Session, feed: dict[str, np.ndarray], width: int) -> np.ndarray:
    """The features, after checking that each row alone has the same."""
    (whole,) = session.run(["features"], feed)
    assert whole.shape[1:] == (width,)
    for row in range(len(whole)):
        (alone,) = session.run(["features"], {name: array[row : row + 1] for name, array in feed.items()})
        assert np.abs(alone[0] - whole[row]).max() < 1e-4 * max(1.0, float(np.abs(whole).max()))
    return whole


def test_images_grey_and_coloured_of_any_size_have_features(tmp_path: Path) -> None:
    _, session = found("image", tmp_path)
    grey = np.random.default_rng(0).integers(0, 256, (2, 40, 36, 1), dtype=np.uint8)
    ours = same_alone(session, {"pixels": grey}, 1280)
    assert np.abs(ours - same_alone(session, {"pixels": grey.repeat(3, axis=3)}, 1280)).max() < 1e-4


def test_images_are_resized_in_the_graph(tmp_path: Path) -> None:
    made, session = found("image", tmp_path, image_size=64)
    small = np.full((1, 8, 8, 3), 90, np.uint8)
    large = np.full((1, 64, 64, 3), 90, np.uint8)
    runs = [session.run(["features"], {"pixels": pixels})[0] for pixels in (small, large)]
    assert np.abs(runs[0] - runs[1]).max() < 1e-3
    assert made.encoder == "image"


def test_a_daisy_looks_more_like_itself_than_like_a_palace(tmp_path: Path) -> None:
    from sklearn.datasets import load_sample_images

    _, session = found("image", tmp_path)
    china, flower = load_sample_images().images
    crops = [image[a : a + 384 : 3, b : b + 384 : 3] for image in (china, flower) for a, b in ((20, 100), (30, 180))]
    (found_ND,) = session.run(["features"], {"pixels": np.stack(crops)})
    found_ND /= np.linalg.norm(found_ND, axis=1, keepdims=True)
    likeness = found_ND @ found_ND.T
    assert min(likeness[0, 1], likeness[2, 3]) > likeness[:2, 2:].max()


def test_sounds_give_what_the_published_files_give_window_by_window(tmp_path: Path) -> None:
    made, session = found("speech", tmp_path)
    waves = (np.random.default_rng(0).normal(0, 0.1, (2, 8000)) * np.array([[1.0], [0.2]])).astype(np.float32)
    ours = same_alone(session, {"waveform": waves}, 288)
    mel, embed = (Session(made.weights.folder / name) for name in ("melspectrogram.onnx", "embedding_model.onnx"))
    for wave, features in zip(waves, ours, strict=True):
        (bands,) = mel.run([mel.outputs[0]], {mel.inputs[0]: np.pad(wave, 6000)[None] * 32767})
        bands = bands[0, 0] / 10 + 2
        windows = np.stack([bands[at : at + 76] for at in range(0, len(bands) - 75, 8)])[..., None]
        (each,) = embed.run([embed.outputs[0]], {embed.inputs[0]: windows})
        each = each.reshape(len(windows), 96)
        expected = np.concatenate([each.mean(axis=0), each.max(axis=0), each.min(axis=0)])
        assert np.abs(features - expected).max() < 1e-2


@pytest.mark.slow
def test_texts_of_like_meaning_are_close(tmp_path: Path) -> None:
    from thrifty.data.encode.tokens import Tokens

    made, session = found("text", tmp_path)
    encoder = Tokens(("t",), (made.weights.folder / "tokenizer.json").read_text(encoding="utf-8"))
    arrays, _ = encoder.encode(
        {"t": ["A man is playing a guitar.", "Someone plays an instrument.", "The stock market fell."]}
    )
    features = same_alone(session, arrays, 384)
    assert features[0] @ features[1] > 0.5 > features[0] @ features[2]


def test_a_file_is_written_once(tmp_path: Path) -> None:
    made, _ = found("speech", tmp_path)
    before = made.path.stat().st_mtime_ns
    assert found("speech", tmp_path)[0].path.stat().st_mtime_ns == before
