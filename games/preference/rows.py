"""Reads rows from text, JSON, JSON lines, CSV and Parquet files, and from folders of the `datasets` library."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from marl_engine.errors import Refused, describe


class Row(NamedTuple):
    """A row and a description of its position."""

    place: str
    content: Any  # columns by name; in a text file a line


def read_rows(path: Path) -> list[Row]:
    """Returns the rows of a file or folder in order. Raises Refused."""
    if not path.exists():
        raise Refused(f"there is no {path}")
    if not path.is_dir() and path.suffix.lower() not in READERS:
        raise Refused(f"{path} must be a {', '.join(READERS)} file or a folder of datasets")
    try:
        return read_dataset(path) if path.is_dir() else READERS[path.suffix.lower()](path)
    except (OSError, UnicodeError, csv.Error, RecursionError) as error:
        raise Refused(f"{path} cannot be read: {describe(error)}") from error


def read_text(path: Path) -> list[Row]:
    """Returns the lines of a text file, without empty ones and those that begin with #."""
    return [row for row in read_lines(path) if not row.content.startswith("#")]


def read_lines(path: Path) -> list[Row]:
    """Returns the lines of a file that are not empty."""
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return [Row(f"{path}, line {n}", line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]


def read_json_lines(path: Path) -> list[Row]:
    """Parses JSON lines. Raises Refused with the number of an invalid line."""
    return [Row(place, parse(place, line)) for place, line in read_lines(path)]


def read_json(path: Path) -> list[Row]:
    """Parses a JSON list of rows, or JSON lines in a .json file. Raises Refused."""
    text = path.read_text(encoding="utf-8-sig")
    try:
        rows = json.loads(text)
    except ValueError as error:
        if "Extra data" in str(error):
            return read_json_lines(path)
        raise Refused(f"{path} is no JSON: {error}") from error
    if not isinstance(rows, list):
        raise Refused(f"{path} must be a list of rows in JSON, or a row in every line")
    return number(path, rows)


def read_csv(path: Path) -> list[Row]:
    """Parses a CSV file with a header; cells are separated by commas, semicolons or tabs.

    Raises Refused for rows with too many cells.
    """
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        divider = max(",;\t", key=lambda sign: len(next(csv.reader([header], delimiter=sign), [])))
        file.seek(0)
        rows = number(path, csv.DictReader(file, delimiter=divider, strict=True))
    for place, row in rows:
        if None in row:
            raise Refused(f"{place}, has more cells than there are names; quote texts that have a {divider!r} in them")
    return rows


def read_parquet(path: Path) -> list[Row]:
    """Reads the rows of a Parquet file. Raises Refused if pyarrow is not installed."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise Refused(f"to read {path}: pip install pyarrow") from error
    try:
        return number(path, parquet.read_table(path).to_pylist())
    except ArrowException as error:
        raise Refused(f"{path} cannot be read: {error}") from error


def read_dataset(path: Path) -> list[Row]:
    """Reads the rows of a saved dataset, of its `train` split if it has several. Raises Refused."""
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise Refused(f"to read the folder {path}: pip install datasets") from error
    try:
        rows = load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise Refused(f"{path} is no folder that datasets saved: {error}") from error
    if isinstance(rows, Mapping):
        rows = rows["train"] if "train" in rows else next(iter(rows.values()))
    return number(path, rows)


def number(path: Path, rows: Iterable[Any]) -> list[Row]:
    """Adds positions, counted from 1, to rows."""
    return [Row(f"{path}, row {place}", row) for place, row in enumerate(rows, start=1)]


def parse(place: str, line: str) -> Any:
    """Parses a line of JSON. Raises Refused."""
    try:
        return json.loads(line)
    except ValueError as error:
        raise Refused(f"{place}, is no JSON: {error}") from error


READERS = {
    ".txt": read_text,
    ".jsonl": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
