"""Rows of Parquet and Arrow files as JSON objects (pyarrow, the extra `parquet`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from detector.config.extras import install
from detector.errors import NeedsOperator
from detector.shell.files.inputs.csv_form import EXACT_MAX, unique_names
from detector.shell.files.inputs.kinds_of_file import FileKind

if TYPE_CHECKING:
    import pyarrow

_ROWS = 4096  # turned into Python objects at once
_ENCODER = msgspec.json.Encoder(decimal_format="number", uuid_format="canonical", enc_hook=str)


class Table:
    """An open file of columns.

    Raises
    ------
    NeedsOperator
        pyarrow is missing, or the file is damaged.
    """

    def __init__(self, name: str, file: BinaryIO, kind: FileKind) -> None:
        try:
            import pyarrow.ipc
            import pyarrow.parquet
        except ImportError as error:
            raise NeedsOperator(
                f"{name} is {'a Parquet' if kind == 'parquet' else 'an Arrow'} file, and pyarrow is not "
                f"installed: {install('parquet')}"
            ) from error
        self._name = name
        with self._errors(0):
            if kind == "parquet":
                parquet = pyarrow.parquet.ParquetFile(file)
                self.schema = parquet.schema_arrow
                self._batches = parquet.iter_batches(batch_size=_ROWS)
            else:
                opened = pyarrow.ipc.open_file(file) if kind == "arrow" else pyarrow.ipc.open_stream(file)
                self.schema = opened.schema
                numbered = kind == "arrow"
                self._batches = (
                    map(opened.get_batch, range(opened.num_record_batches)) if numbered else opened
                )
            self.names = unique_names(self.schema.names)

    def rows(self) -> Iterator[bytes]:
        """Rows as JSON objects, one by one."""
        count = 0
        batches = iter(self._batches)
        while True:
            with self._errors(count):
                batch = next(batches, None)
            if batch is None:
                return
            for start in range(0, batch.num_rows, _ROWS):
                with self._errors(count):
                    part = batch.slice(start, _ROWS)
                    part.validate(full=True)  # damaged offsets would lead outside of the memory
                    encoded = json_rows(self.names, [values_of(column) for column in part.columns])
                yield from encoded
                count += len(encoded)

    @contextmanager
    def _errors(self, row: int) -> Iterator[None]:
        import pyarrow

        try:
            yield
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
            reason = str(error).partition("\n")[0][:200]
            cause = error.with_traceback(None)  # as of EventFile
            raise NeedsOperator(f"{self._name} is damaged or truncated after row {row}: {reason}") from cause


def json_rows(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> list[bytes]:
    """Rows as JSON objects, from the values of their columns."""
    encode = _ENCODER.encode
    return [encode(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def values_of(column: pyarrow.Array) -> list[Any]:
    """Values of a column that msgspec can write; a time without a zone stays without one."""
    import pyarrow

    types, kind = pyarrow.types, column.type
    if types.is_timestamp(kind):
        zone = None if kind.tz is None else "UTC"  # the same instants
        if kind.unit == "ns":  # times are read to microseconds
            column = column.cast(pyarrow.timestamp("us", kind.tz), safe=False)
        column = column.cast(pyarrow.timestamp("us", zone), safe=False)
    elif types.is_time64(kind) or types.is_duration(kind):
        column = column.cast(
            pyarrow.time64("us") if types.is_time64(kind) else pyarrow.duration("us"), safe=False
        )
    values: list[Any] = column.to_pylist()
    if types.is_integer(kind):
        return values
    if types.is_decimal(kind) and kind.scale <= 0:
        return [str(value) if value is not None and abs(value) > EXACT_MAX else value for value in values]
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return [_text_or_bytes(value) for value in values]
    return values


def _text_or_bytes(value: bytes | None) -> str | bytes | None:
    """Text that was written without saying so; other bytes become base64."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value
