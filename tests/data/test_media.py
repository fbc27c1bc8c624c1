from collections.abc import Callable
from pathlib import Path

import numpy as np

from thrifty.data import media
from thrifty.data.cache import Cache
from thrifty.data.column import Meaning
from thrifty.data.encode.encoder import UnreadableError


def test_every_value_is_read_once_and_the_unreadable_are_told(png: Callable[..., bytes], wav: Callable[..., bytes]):
    values = [png(1), png(1)[:50], None, png(1), b""]
    found = media.check(values, Meaning.IMAGE)
    assert found.state.tolist() == [media.READABLE, media.UNREADABLE, media.MISSING, media.READABLE, media.UNREADABLE]
    assert sorted(found.reasons) == [1, 4]
    assert (found.prints[0] == found.prints[3]).all()
    sounds = media.check([wav(1), wav(2), wav(1), b"RIFF", wav(1, 0)], Meaning.AUDIO)
    assert sounds.state.tolist() == [1, 1, 1, 2, 2]
    assert (sounds.prints[0] == sounds.prints[2]).all()
    assert (sounds.prints[0] != sounds.prints[1]).any()


def test_when_time_is_over_the_rest_is_left_unchecked():
    calls = []
    found = media.check(
        ["x"] * 1000,
        Meaning.IMAGE,
        order=np.random.default_rng(0).permutation(1000),
        out_of_time=lambda: len(calls) >= 64,
        print_of=lambda value: calls.append(value) or bytes(media.PRINT_BYTES),
        cores=1,
    )
    assert 256 <= (found.state == media.READABLE).sum() < 400
    assert (found.state == media.UNCHECKED).sum() > 600


def test_what_was_found_is_kept_until_a_file_changes(tmp_path: Path, png: Callable[..., bytes]):
    files = [tmp_path / f"{i}.png" for i in range(80)]
    for i, file in enumerate(files):
        file.write_bytes(png(i) if i else b"broken")
    calls = []

    def counted(value: str) -> bytes:
        calls.append(value)
        if "/0.png" in value:
            raise UnreadableError("broken")
        return bytes(media.PRINT_BYTES)

    def check() -> media.Checked:
        return media.check(list(map(str, files)), Meaning.IMAGE, cache=cache, print_of=counted)

    cache = Cache(tmp_path / "cache")
    first, second = check(), check()
    assert len(calls) == 80
    assert (first.state == second.state).all()
    assert first.reasons == second.reasons == {0: "broken"}
    files[5].write_bytes(b"changed")
    check()
    assert len(calls) == 160
