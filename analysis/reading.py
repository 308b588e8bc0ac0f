"""Many small CSV files parsed as one: of thousands of runs, pandas spends most of its time on beginning."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

FILES = 200  # parsed at once
NUMBERS: Any = {"keep_default_na": False, "na_values": ["", "nan"]}  # only these are missing values


def read_alike(paths: Iterable[Path]) -> dict[Path, pd.DataFrame]:
    """The tables of those files that are plain: numbers alone, whole rows, no quotes, at least one row.

    A file that is not among them has to be read by itself, which says what is wrong with it. The frames equal what
    pandas makes of each file, but that a column of whole numbers may hold them as floats.
    """
    found: dict[Path, pd.DataFrame] = {}
    by_header: dict[bytes, list[tuple[Path, bytes]]] = {}
    for path in paths:
        if (plain := _plain(path)) is not None:
            header, rows = plain
            group = by_header.setdefault(header, [])
            group.append((path, rows))
            if len(group) == FILES:
                found |= _parsed(header, by_header.pop(header))
    for header, group in by_header.items():
        found |= _parsed(header, group)
    return found


def _plain(path: Path) -> tuple[bytes, bytes] | None:
    """Header and whole rows of a file; a last line without newline, which a kill leaves, is dropped."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    header, _, rows = content[: content.rfind(b"\n") + 1].partition(b"\n")
    return None if not rows or b'"' in content or b"\r" in content or b"\n\n" in content else (header, rows)


def _parsed(header: bytes, group: list[tuple[Path, bytes]]) -> dict[Path, pd.DataFrame]:
    try:
        frame = pd.read_csv(io.BytesIO(b"\n".join([header, b"".join(rows for _, rows in group)])), **NUMBERS)
    except ValueError:  # pandas' parser errors too
        return {}
    counts = [rows.count(b"\n") for _, rows in group]
    columns = header.count(b",") + 1
    whole = isinstance(frame.index, pd.RangeIndex) and len(frame) == sum(counts) and len(frame.columns) == columns
    if not whole or not all(pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes):
        return {}
    return dict(zip((path for path, _ in group), _split(frame, counts), strict=True))


def _split(frame: pd.DataFrame, counts: list[int]) -> Iterator[pd.DataFrame]:
    begin = 0
    for count in counts:
        yield frame.iloc[begin : begin + count].reset_index(drop=True)
        begin += count
