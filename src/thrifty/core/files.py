"""Writing files so that a kill at any moment leaves the old content or the new, never half of it."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path, *, once: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path`; when the block succeeds it is synced and renamed to `path`.

    once: where no file is yet; of several that write at once one does, others raise FileExistsError.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        if once:
            _claim(path, temporary)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _claim(path: Path, temporary: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        path.touch(exist_ok=False)
        temporary.replace(path)


def write_json(path: Path, value: Any, *, once: bool = False) -> None:
    """Writes `value` as strict JSON (no NaN), whole or not at all. once: as `replacing` has it."""
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    with replacing(path, once=once) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
