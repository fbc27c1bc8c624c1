import contextlib
import io

import numpy as np
import pytest
import soundfile

from thrifty.data.encode.audio import RATE, decode_audio, fit_length
from thrifty.data.encode.encoder import UnreadableError
from thrifty.data.encode.log_mel import LogMel, log_mel
from thrifty.data.encode.log_mel_statistics import LogMelStatistics, num_statistics
from thrifty.data.encode.waveform import Waveform


def tone(seconds: float = 1.0, rate: int = RATE, hz: float = 440, channels: int = 1) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate).astype(np.float32)
    return wave if channels == 1 else np.stack([wave] * channels, axis=1)


def file_of(wave: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, wave, rate, format=form, subtype=subtype)
    return out.getvalue()


NOISE = np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)


def loudest_hz(wave: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(wave * np.hanning(len(wave))))) * RATE / len(wave))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_rate_and_channels_become_mono_at_one_rate(rate: int, channels: int) -> None:
    wave = decode_audio(file_of(tone(1.5, rate, channels=channels), rate))
    assert wave.dtype == np.float32
    assert wave.ndim == 1
    assert abs(len(wave) - 1.5 * RATE) <= 2
    assert abs(loudest_hz(wave) - 440) < 2


@pytest.mark.parametrize(
    ("form", "subtype"),
    [("FLAC", None), ("OGG", "VORBIS"), ("MP3", None), ("WAV", "PCM_U8"), ("WAV", "FLOAT"), ("AIFF", None)],
)
def test_any_format_is_read_from_bytes_and_from_a_path(form: str, subtype: str | None, tmp_path) -> None:
    data = file_of(tone(1.0, 44_100), 44_100, form, subtype)
    path = tmp_path / "sound"
    path.write_bytes(data)
    wave = decode_audio(data)
    assert abs(loudest_hz(wave) - 440) < 4
    np.testing.assert_array_equal(wave, decode_audio(str(path)))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "0 bytes"),
        (b"nothing to hear", "not a sound"),
        (file_of(tone(0)), "0 samples"),
        (file_of(tone(1))[:5000], "truncated"),
        (file_of(tone(1), form="AIFF")[:5000], "truncated"),
        (file_of(NOISE, form="OGG")[:9000], "truncated"),
        (file_of(NOISE, form="FLAC")[:9000], "sync|truncated"),
        ("nowhere.wav", "no file"),
        ("/tmp", "folder"),
        (3, "int"),
    ],
    ids=lambda value: value if isinstance(value, str) else "value",
)
def test_what_cannot_be_read_is_told_with_its_reason(value: object, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        decode_audio(value)


def test_damage_anywhere_is_an_unreadable_sound_or_none(capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for form in ("WAV", "FLAC", "OGG"):
        data = file_of(tone(0.3), form=form)
        for _ in range(30):
            damaged = np.frombuffer(data[: rng.integers(1, len(data) + 1)], np.uint8).copy()
            damaged[rng.integers(0, min(len(damaged), 300), 3)] = rng.integers(0, 256, 3)
            with contextlib.suppress(UnreadableError):
                assert np.isfinite(decode_audio(damaged.tobytes())).all()
    assert "Traceback" not in capfd.readouterr().err


def test_of_a_long_sound_the_middle_is_taken() -> None:
    wave = np.concatenate([tone(1, hz=200), tone(1, hz=1000), tone(1, hz=200)])
    assert abs(loudest_hz(decode_audio(file_of(wave), seconds=0.9)) - 1000) < 5
    assert fit_length(np.arange(10, dtype=np.float32), 4).tolist() == [3, 4, 5, 6]
    assert fit_length(np.ones(2, np.float32), 5).tolist() == [0, 1, 1, 0, 0]


def test_samples_that_are_not_numbers_become_finite() -> None:
    wave = tone(0.1)
    wave[5], wave[6] = np.nan, np.inf
    assert np.isfinite(decode_audio(file_of(wave, subtype="FLOAT"))).all()


def test_waveforms_have_one_length_and_missing_ones_are_silent() -> None:
    arrays, problems = Waveform(("s",), 0.5).encode({"s": [file_of(tone(2)), None, b"broken", file_of(tone(0.1))]})
    assert arrays["waveform"].shape == (4, 8000)
    assert arrays["present"][:, 0].tolist() == [1, 0, 0, 1]
    assert not arrays["waveform"][[1, 2]].any()
    assert [p.row for p in problems] == [2]


def test_log_mel_agrees_with_a_fourier_transform_and_peaks_at_the_tone() -> None:
    frames = LogMel(("s",), 1.0).encode({"s": [file_of(tone(1, hz=440)), file_of(tone(1, hz=3000))]})[0]["frames"]
    assert frames.shape == (2, 98, 64)
    assert frames[0].mean(axis=0).argmax() < frames[1].mean(axis=0).argmax()
    np.testing.assert_allclose(frames.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(frames.std(axis=(1, 2)), 1, atol=1e-3)
    loud = log_mel(tone(1)[None], 64)
    assert np.abs(log_mel(tone(1)[None] * 2, 64) - loud)[loud > 0].mean() == pytest.approx(np.log(4), abs=1e-3)


def test_a_sound_gives_the_same_numbers_alone_and_in_a_batch() -> None:
    rng = np.random.default_rng(0)
    sounds = [file_of(rng.normal(0, 0.1, int(rng.integers(500, 30_000))).astype(np.float32)) for _ in range(20)]
    for encoder in (LogMel(("s",), 1.0), LogMelStatistics(("s",))):
        output = encoder.outputs[0]
        batch = encoder.encode({"s": sounds}, threads=2)[0][output]
        for row in (0, 7, 19):
            alone = encoder.encode({"s": sounds[row : row + 1]})[0][output]
            np.testing.assert_allclose(alone[0], batch[row], atol=2e-4)


@pytest.mark.parametrize("num_samples", [1, 2, 399, 400, 401, 700, 16_000])
def test_statistics_are_finite_for_any_length_and_for_silence(num_samples: int) -> None:
    for wave in (np.zeros(num_samples, np.float32), tone(1)[:num_samples], np.ones(num_samples, np.float32)):
        values = LogMelStatistics(("s",)).encode({"s": [(wave, RATE), None]})[0]["values"]
        assert values.shape == (2, num_statistics())
        assert np.isfinite(values).all()
        assert not values[1].any()
