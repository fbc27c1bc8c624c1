"""Values in memory: lists of dicts, dicts of columns, (inputs, labels), data frames, Hugging Face data sets."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np

from thrifty.core.errors import DataError
from thrifty.data.encode.values import is_missing
from thrifty.data.formats.arrow_table import flat, in_brief
from thrifty.data.formats.json_lines import column_of, from_objects

if TYPE_CHECKING:
    import pyarrow as pa

LABEL = "label"


@dataclass(frozen=True)
class InMemory:
    """A part's table, and the target where the labels came beside the inputs."""

    part: str
    arrow: pa.Table
    target: str | None = None


def from_memory(source: Any, part: str = "train") -> list[InMemory]:
    """The tables of a value; a Hugging Face DatasetDict gives one per part. Raises DataError for what is no table."""
    module = type(source).__module__.split(".")[0]
    if module == "datasets":
        return _from_hugging_face(source, part)
    if isinstance(source, tuple) and len(source) == 2:
        return [_from_pair(*source, part)]
    if isinstance(source, Mapping):
        return [InMemory(part, _from_columns(source))]
    if isinstance(source, np.ndarray):
        return [InMemory(part, _inputs(_as_array(source)))]
    if module in ("pandas", "pyarrow", "polars") or hasattr(source, "__arrow_c_stream__"):
        return [InMemory(part, _from_interface(source))]
    if isinstance(source, Iterable) and not isinstance(source, (str, bytes)):
        rows = list(source)
        if all(isinstance(row, Mapping) for row in rows):
            return [InMemory(part, from_rows(rows))]
        if rows and all(isinstance(row, (str, bytes, PathLike)) for row in rows):
            return [InMemory(part, _inputs(np.array(rows, dtype=object)))]
    raise DataError(
        f"a value of type {type(source).__name__} is not data; give a path, a list of dicts, a pandas, polars or "
        "pyarrow table, a Hugging Face Dataset, or (inputs, labels) as arrays"
    )


def from_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table from dicts with any plain, numpy, datetime, path or image values."""
    return flat(from_objects([{str(k): _plain(v) for k, v in row.items()} for row in rows]))


def _plain(value: Any) -> Any:
    """A value that Arrow takes: numpy's scalars become Python's, paths text, images PNG bytes, dates ISO text.

    Decimals and durations (in seconds) become floats, sets lists.
    """
    kind = type(value)
    if kind in (str, int, bool, bytes) or value is None:
        return value
    if is_missing(value):
        return None
    if kind is float:
        return value
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, np.ndarray):
        return _png(value) if value.dtype == np.uint8 and value.ndim in (2, 3) else value.tolist()
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, (datetime, date)):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, (complex, np.complexfloating)):
        raise DataError(f"{value} is a complex number; give its real and its imaginary part as columns")
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "save") and hasattr(value, "convert"):  # a Pillow image
        out = io.BytesIO()
        value.save(out, "PNG")
        return out.getvalue()
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


def _from_interface(value: Any) -> pa.Table:
    """A flat table from anything with Arrow's stream interface, and from pandas.

    Raises DataError when it holds what Arrow cannot take.
    """
    import pyarrow as pa

    try:
        if isinstance(value, pa.Table):
            return flat(value)
        if isinstance(value, pa.RecordBatch):
            return flat(pa.Table.from_batches([value]))
        if isinstance(value, pa.RecordBatchReader):
            return flat(value.read_all())
        if type(value).__module__.split(".")[0] == "pandas":
            return _from_pandas(value)
        return flat(pa.table(value))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(f"the table in memory ({type(value).__name__}) cannot be read: {in_brief(error)}") from error


def _from_pandas(frame: Any) -> pa.Table:
    """A DataFrame's columns, one by one; what Arrow cannot take is read as in a list."""
    import pyarrow as pa

    columns = []
    for place in range(frame.shape[1]):
        series = frame.iloc[:, place]
        try:
            column = pa.array(series, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            column = None
        if column is None or isinstance(getattr(column.type, "value_type", column.type), pa.BaseExtensionType):
            column = column_of([_plain(value) for value in series])  # periods and intervals too, by their texts
        columns.append(column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column]))
    return flat(pa.table(columns, names=[str(name) for name in frame.columns]))


def _from_columns(source: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    for name, values in source.items():
        if not hasattr(values, "__len__") or not hasattr(values, "__iter__") or isinstance(values, (str, bytes)):
            raise DataError(f"the column {str(name)!r} is of type {type(values).__name__}; give a list of its values")
    if len({len(values) for values in source.values()}) > 1:
        raise DataError("the columns differ in length: " + ", ".join(f"{k} {len(v)}" for k, v in source.items()))
    return flat(pa.table([_column(values) for values in source.values()], names=[str(name) for name in source]))


def _column(values: Any) -> pa.Array:
    """A column's values; arrays of numbers as they are, without a Python object for each."""
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "biuf" and values.itemsize <= 8:
        return pa.array(np.ascontiguousarray(values, values.dtype.newbyteorder("=")), from_pandas=True)
    return column_of([_plain(value) for value in values])


def _from_pair(inputs: Any, labels: Any, part: str) -> InMemory:
    arrow = (
        _inputs(_as_array(inputs))
        if isinstance(inputs, (np.ndarray, list)) and not _are_rows(inputs)
        else (from_memory(inputs, part)[0].arrow)
    )
    if hasattr(labels, "to_numpy"):
        labels = labels.to_numpy()
    labels = _as_array(labels) if not isinstance(labels, list) or not _is_nested(labels) else labels
    cells: list[Any]
    if isinstance(labels, np.ndarray) and labels.ndim == 2 and labels.shape[1] > 1:
        cells = [np.flatnonzero(row).tolist() for row in labels]
    else:
        cells = [_plain(v) for v in (labels.reshape(-1) if isinstance(labels, np.ndarray) else labels)]
    if len(cells) != arrow.num_rows:
        raise DataError(f"there are {arrow.num_rows} inputs and {len(cells)} labels")
    name = LABEL
    while name in arrow.column_names:
        name += "_"
    return InMemory(part, flat(arrow.append_column(name, column_of(cells))), name)


def _as_array(values: Any) -> np.ndarray:
    """Values as an array. Raises DataError for lists of different lengths, and for complex numbers."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(
            "the lists in the data differ in length or depth, so that they are no array; give each row as many values, "
            "or a list of dicts, {column: value}"
        ) from error
    if array.dtype.kind == "c":
        raise DataError(f"the array holds complex numbers ({array.dtype}); give real and imaginary parts as columns")
    return array


def _are_rows(inputs: Any) -> bool:
    return isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], Mapping)


def _is_nested(labels: list[Any]) -> bool:
    return any(isinstance(cell, (list, tuple, set)) for cell in labels)


def _inputs(array: np.ndarray) -> pa.Table:
    """Arrays as a table: [N] one column, [N,D] a column per place, [N,H,W] or [N,H,W,C] images as PNG."""
    import pyarrow as pa

    if array.ndim == 0:
        raise DataError("the array of inputs has no rows")
    if array.ndim == 1:
        cells = [_plain(v) for v in array]
        name = "text" if any(isinstance(v, str) for v in cells) else "x0"
        return flat(pa.table({name: column_of(cells)}))
    if array.ndim == 2:
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        try:
            columns = [
                pa.array([_plain(v) for v in c] if array.dtype == object else np.ascontiguousarray(c)) for c in array.T
            ]
        except pa.ArrowException as error:
            raise DataError(
                f"an array of shape {array.shape} and type {array.dtype} cannot be read as a table: {error}; "
                "give numbers, texts or points in time"
            ) from error
        return flat(pa.table(columns, names=[f"x{i}" for i in range(array.shape[1])]))
    if array.ndim in (3, 4) and array.dtype.kind in "uifb":
        images = array if array.dtype == np.uint8 or not array.size else _as_pixels(array)
        return pa.table({"image": pa.array([_png(image) for image in images], pa.binary())})
    raise DataError(f"an array of shape {array.shape} and type {array.dtype} is neither a table nor images")


def _as_pixels(array: np.ndarray) -> np.ndarray:
    """Pixels as uint8, from values of 0 to 1, -1 to 1 or 0 to 255. Raises DataError for others.

    How these are to be scaled cannot be told from some images in the same way as from others.
    """
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    if low < -1 or high > (255 if low >= 0 else 1):
        raise DataError(
            f"images as an array of values from {low:g} to {high:g}: scale them to 0 to 1 or 0 to 255 by a rule that "
            "holds for later images too"
        )
    zero, one = (-1.0, 1.0) if low < 0 else (0.0, 1.0) if high <= 1 else (0.0, 255.0)
    scaled = (np.nan_to_num(array.astype(np.float32), nan=zero) - zero) * (255.0 / (one - zero))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    import PIL.Image

    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] not in (2, 3, 4):
        raise DataError(f"an image of shape {pixels.shape} has neither 1, 3 nor 4 channels")
    out = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _from_hugging_face(source: Any, part: str) -> list[InMemory]:
    from thrifty.data.formats.folder import PARTS

    if isinstance(source, Mapping):  # a DatasetDict
        found = [InMemory(PARTS[n.lower()], _hugging_face_table(d)) for n, d in source.items() if n.lower() in PARTS]
        if not found:
            raise DataError(f"the DatasetDict has no part named train, validation or test but {list(source)}")
        return found
    return [InMemory(part, _hugging_face_table(source))]


def _hugging_face_table(source: Any) -> pa.Table:
    """The rows of a Dataset, class numbers as their names, images and sounds as bytes or paths."""
    import pyarrow as pa

    arrow = source.with_format("arrow")[:]
    arrow = arrow if isinstance(arrow, pa.Table) else pa.table(arrow)
    for name, feature in source.features.items():
        names = getattr(feature, "names", None)
        if names and pa.types.is_integer(arrow.schema.field(name).type):
            place = arrow.column_names.index(name)
            codes = arrow.column(name).to_pylist()
            texts = [None if code is None or code < 0 else names[code] for code in codes]
            arrow = arrow.set_column(place, name, pa.array(texts, pa.string()))
    return flat(arrow)
