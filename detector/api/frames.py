"""Tables in and out: pandas, polars, Arrow, or a list of mappings.

A row becomes one JSON object, exactly as a row of a Parquet file does in `detector replay`, so the same rows
give the same scores. What comes out has the form of what came in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.config.extras import install
from detector.errors import UsageError
from detector.shell.files.inputs.csv_form import unique_names
from detector.shell.files.inputs.tables import json_rows, values_of

if TYPE_CHECKING:
    import pyarrow

CHUNK_ROWS = 4096  # turned into JSON at once
EXPECTED = "a pandas or polars data frame, an Arrow table, or a list of dicts"
_ENCODER = msgspec.json.Encoder(decimal_format="number", uuid_format="canonical", enc_hook=str)

Kind = Literal["pandas", "polars", "arrow", "dicts"]


class Frame:
    """Rows of a table, as JSON objects in their order.

    Parameters
    ----------
    events
        A pandas or polars data frame, anything with the Arrow C stream interface, or a sequence of mappings.
        A NaN in pandas is a missing value. An index of pandas that has a name is a column, as `to_parquet`
        writes it; so is one of times, by the name `index`. Others are not read.

    Raises
    ------
    UsageError
        It is something else, or pyarrow is needed and not installed.
    """

    def __init__(self, events: Any) -> None:
        self._events = events
        self.kind: Kind = _kind(events)
        if self.kind == "dicts":
            self._size = len(events)
            return
        self._names, self._columns = _columns(events, self.kind)
        self._size = len(events) if self.kind == "pandas" else len(self._columns[0]) if self._columns else 0

    def __len__(self) -> int:
        return self._size

    def chunks(self) -> Iterator[list[bytes]]:
        """The rows as JSON, at most `CHUNK_ROWS` at a time.

        Raises
        ------
        UsageError
            A value has no JSON form.
        """
        for start in range(0, len(self), CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, len(self))
            if self.kind == "dicts":
                yield [_encoded(row, start + i) for i, row in enumerate(self._events[start:stop])]
            elif not self._columns:
                yield [b"{}"] * (stop - start)
            else:
                try:
                    rows = json_rows(self._names, [column(start, stop) for column in self._slices()])
                except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
                    raise UsageError(
                        f"one of the rows {start} to {stop} cannot be written as JSON: {error}"
                    ) from None
                yield rows

    def _slices(self) -> list[Callable[[int, int], list[Any]]]:
        def arrow(column: Any) -> Callable[[int, int], list[Any]]:
            return lambda start, stop: [
                value for chunk in _chunks(column.slice(start, stop - start)) for value in values_of(chunk)
            ]

        def plain(column: list[Any]) -> Callable[[int, int], list[Any]]:
            return lambda start, stop: column[start:stop]

        return [plain(c) if isinstance(c, list) else arrow(c) for c in self._columns]

    def result(self, columns: Mapping[str, NDArray[Any] | Sequence[Any]]) -> Any:
        """Make a table of the same kind as the events'; pandas gets their index.

        Floats that are NaN are missing values in polars and Arrow.
        """
        if self.kind == "pandas":
            import pandas

            index = self._events.index
            series = {
                name: pandas.Series(values, index, dtype=object if _code(values) == "O" else None)
                for name, values in columns.items()
            }
            return pandas.DataFrame(series, index=index)
        if self.kind == "polars":
            import polars

            return polars.DataFrame(_plain_columns(columns), schema=_polars_types(polars, columns))
        if self.kind == "arrow":
            import pyarrow

            types = {"f": pyarrow.float64(), "b": pyarrow.bool_()}
            arrays = {
                name: pyarrow.array(values, types.get(_code(columns[name]), pyarrow.string()))
                for name, values in _plain_columns(columns).items()
            }
            return pyarrow.table(arrays)
        plain = _plain_columns(columns)
        return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def _kind(events: Any) -> Kind:
    module = type(events).__module__.partition(".")[0]
    if module == "polars" and hasattr(events, "collect"):
        raise UsageError("got a lazy frame: call collect() on it first")
    if module in ("pandas", "polars"):
        if getattr(events, "columns", None) is None:
            raise UsageError(f"got a {module} {type(events).__name__}, expected {EXPECTED}")
        return "pandas" if module == "pandas" else "polars"
    if hasattr(events, "__arrow_c_stream__"):
        return "arrow"
    if isinstance(events, Sequence) and not isinstance(events, str | bytes | bytearray):
        wrong = next((row for row in events if not isinstance(row, Mapping)), None)
        if wrong is None:
            return "dicts"
        raise UsageError(f"got a list with a {type(wrong).__name__} in it, expected {EXPECTED}")
    raise UsageError(f"got {_a(type(events).__name__)}, expected {EXPECTED}")


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _columns(events: Any, kind: Kind) -> tuple[tuple[str, ...], list[Any]]:
    """Names of the columns, and each one as an Arrow array or a list of values."""
    try:
        import pyarrow
    except ImportError:
        raise UsageError(
            f"data frames are read through pyarrow, which is not installed: {install('parquet')}"
        ) from None
    if kind == "pandas":
        series = [events.iloc[:, i] for i in range(events.shape[1])]
        names = [str(name) for name in events.columns]
        further = [(name, level) for name, level in _index_columns(events.index) if name not in names]
        names += [name for name, _ in further]
        series += [level for _, level in further]
        return unique_names(names), [_pandas_column(pyarrow, one) for one in series]
    table = events.to_arrow() if kind == "polars" else _arrow_table(pyarrow, events)
    return unique_names(table.column_names), list(table.columns)


def _index_columns(index: Any) -> Iterator[tuple[str, Any]]:
    """Levels of an index of pandas that say something of the rows."""
    for number, name in enumerate(index.names):
        level = index.get_level_values(number)
        if name is not None or level.dtype.kind == "M":
            yield "index" if name is None else str(name), level.to_series()


def _arrow_table(pyarrow: Any, events: Any) -> Any:
    try:
        return pyarrow.table(events)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise UsageError(f"the table cannot be read: {str(error).partition(chr(10))[0]}") from None


def _pandas_column(pyarrow: Any, series: Any) -> Any:
    """An Arrow array, or a list of values where they are of several types."""
    try:
        return pyarrow.array(series, from_pandas=True)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
        missing = series.isna().tolist()
        return [None if absent else value for value, absent in zip(series.tolist(), missing, strict=True)]


def _chunks(column: Any) -> list[pyarrow.Array]:
    return list(column.chunks) if hasattr(column, "chunks") else [column]


def _encoded(row: Mapping[Any, Any], number: int) -> bytes:
    try:
        return _ENCODER.encode(row if type(row) is dict else dict(row))
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise UsageError(f"row {number} cannot be written as JSON: {error}") from None


def _code(values: NDArray[Any] | Sequence[Any]) -> str:
    return values.dtype.kind if isinstance(values, np.ndarray) else "O"


def _plain_columns(columns: Mapping[str, NDArray[Any] | Sequence[Any]]) -> dict[str, list[Any]]:
    """Columns as lists; a float that is NaN is None."""
    plain: dict[str, list[Any]] = {}
    for name, values in columns.items():
        listed: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if _code(values) == "f":
            listed = [None if value != value else value for value in listed]
        plain[name] = listed
    return plain


def _polars_types(polars: Any, columns: Mapping[str, NDArray[Any] | Sequence[Any]]) -> dict[str, Any]:
    types = {"f": polars.Float64, "b": polars.Boolean}
    return {name: types.get(_code(values), polars.String) for name, values in columns.items()}
