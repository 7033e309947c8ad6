"""Readers of payoffs and preference matrices in common file formats."""

import csv
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from games.gambit import nfg
from games.openspiel.load import compile_game
from marl_engine.errors import Refused
from marl_engine.extensive_form.reduced_normal_form import reduce_to_normal_form
from marl_engine.numerics.checks import check_finite

GAMBIT = (".nfg", ".efg")  # formats that state the number of players
ROUNDED = 2e-6  # largest deviation from P + P' = 1: float32, or six digits


def load_payoffs(path: str, column_path: str | None = None) -> np.ndarray:
    """Returns payoffs (P, A, B, …) from a .npy, .nfg or .efg file.

    A .csv or a two-dimensional .npy contains those of the row player.

    `column_path` is such a file with the payoffs (A, B) of the column player; without it the game is zero-sum. Raises
    Refused for invalid files.
    """
    payoffs = read_numbers("game.payoffs", path)
    if column_path is not None:
        column = read_numbers("game.column_payoffs", column_path)
        if payoffs.ndim != 2 or payoffs.shape != column.shape:
            raise Refused(
                f"game.payoffs and game.column_payoffs must be two tables of one shape, not {payoffs.shape} in {path} "
                f"and {column.shape} in {column_path}"
            )
        payoffs = np.stack([payoffs, column])
    elif payoffs.ndim == 2 and not path.lower().endswith(GAMBIT):
        payoffs = np.stack([payoffs, -payoffs])
    if payoffs.ndim < 2 or payoffs.shape[0] != payoffs.ndim - 1 or payoffs.size == 0:
        raise Refused(f"game.payoffs: {path} has shape {payoffs.shape}; it must be (P, actions of each of the P seats)")
    return payoffs


def load_preference(path: str) -> np.ndarray:
    """Returns the preference matrix (A, A) in a .csv or .npy file. Raises Refused for invalid files."""
    return read_numbers("game.payoffs", path)


def read_numbers(key: str, path: str) -> np.ndarray:
    """Returns the numbers in a file as float64.

    Raises Refused; the message contains `key`, the option that named the file.
    """
    ending = Path(path).suffix.lower()
    if ending not in READERS:
        raise Refused(f"{key}: {path} cannot be read: its name must end with one of {', '.join(READERS)}")
    try:
        numbers = READERS[ending](Path(path))
    except (OSError, ValueError, EOFError) as error:
        raise Refused(f"{key}: {path} cannot be read as a {ending} file: {error}") from error
    check_finite(f"{key}: the payoffs in {path}", numbers)
    return np.asarray(numbers, float)


def read_nfg(path: Path) -> np.ndarray:
    """Returns the payoffs in a .nfg file. Raises ValueError and OSError."""
    return nfg.parse_nfg(path.read_text(encoding="utf-8-sig"))


def read_efg(path: Path) -> np.ndarray:
    """Returns the payoffs of the reduced normal form of a .efg file. Raises ValueError and OSError."""
    return reduce_to_normal_form(compile_game(str(path))[1])


def read_csv_table(path: Path) -> np.ndarray:
    """Returns the numbers (A, B) in a text table. Raises ValueError and OSError."""
    return parse_table(path.read_text(encoding="utf-8-sig")).numbers


def read_action_names(path: str) -> list[list[str]]:
    """Returns the action names of each player in a .csv or .nfg file; empty for players without names."""
    ending = Path(path).suffix.lower()
    if ending == ".nfg":
        return nfg.strategy_names(Path(path).read_text(encoding="utf-8-sig"))
    if ending == ".csv":
        table = parse_table(Path(path).read_text(encoding="utf-8-sig"))
        return [table.row_names, table.column_names]
    return []


class PayoffTable(NamedTuple):
    """Numbers (A, B), and the names of rows and columns: A and B of them, or none."""

    numbers: np.ndarray
    row_names: list[str]
    column_names: list[str]


def parse_table(text: str) -> PayoffTable:
    """Parses lines with cells separated by semicolons, tabs, commas or blanks.

    Numbers may be fractions, and have a decimal comma if cells are separated by semicolons. A first line or first
    column without numbers contains names. Raises ValueError with the position of a cell that is not a number.
    """
    mark = next((mark for mark in ";\t," if mark in text), None)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    rows = list(csv.reader(lines, delimiter=mark)) if mark else [line.split() for line in lines]
    cells = [[cell.strip().replace(",", ".") for cell in row] for row in rows]
    first_row = int(len(cells) > 1 and not any(map(is_number, cells[0])))
    first_column = int(bool(cells) and not any(is_number(row[0]) for row in cells[first_row:]))
    widths = {len(row) - first_column for row in cells[first_row:]}
    if len(widths) != 1:
        raise ValueError(f"its rows have {' or '.join(map(str, sorted(widths)))} numbers" if widths else "it is empty")
    numbers = np.array(
        [
            [parse_cell(cell, f"row {row}, column {column}") for column, cell in enumerate(each[first_column:], 1)]
            for row, each in enumerate(cells[first_row:], 1)
        ]
    )
    row_names = [row[0].strip() for row in rows[first_row:]] if first_column else []
    header = rows[0][-numbers.shape[1] :] if first_row else []  # without the corner above the row names
    return PayoffTable(numbers, row_names, [cell.strip() for cell in header] if len(header) == numbers.shape[1] else [])


def is_number(cell: str) -> bool:
    """Whether a cell is a number or a fraction."""
    try:
        parse_cell(cell, "")
    except ValueError:
        return False
    return True


def parse_cell(cell: str, place: str) -> float:
    """Parses a cell such as -0.5, 1e3, nan or 1/3. Raises ValueError with its position."""
    try:
        return float(cell)
    except ValueError:
        pass
    try:
        return float(Fraction(cell))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"{cell!r} in {place} is no number") from None


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".npy": np.load,
    ".csv": read_csv_table,
    ".nfg": read_nfg,
    ".efg": read_efg,
}


def above_half(preference: np.ndarray) -> np.ndarray:
    """Returns the payoffs (2, A, A) of a preference matrix (A, A): preferences minus one half, with rounding errors
    averaged out.

    Raises Refused unless it is a preference matrix.
    """
    if preference.ndim != 2 or preference.shape[0] != preference.shape[1] or not preference.size:
        raise Refused(f"a preference matrix is square, and not of shape {preference.shape}")
    excess = preference + preference.T - 1
    if not np.abs(excess).max() <= ROUNDED or preference.min() < -ROUNDED:
        row, column = np.unravel_index(np.abs(excess).argmax(), excess.shape)
        raise Refused(
            f"a preference matrix is from 0 to 1, and P[a, b] + P[b, a] = 1; P[{row}, {column}] is "
            f"{preference[row, column]:g} and P[{column}, {row}] is {preference[column, row]:g}"
        )
    margin = np.clip((preference - preference.T) / 2, -0.5, 0.5)
    return np.stack([margin, margin.T])
