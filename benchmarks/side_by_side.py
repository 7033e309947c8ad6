"""What all benchmarks share: peers in environments of their own, rows of comparisons, a table and a line of JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "benchmarks" / "peers"


class Row(NamedTuple):
    """One comparison: `ours` and `theirs` in `unit`."""

    case: str
    peer: str
    ratio: float
    ours: float
    theirs: float
    unit: str
    note: str = ""


def python_of(environment: str) -> Path:
    """The interpreter of a peer."""
    return ROOT / ".peers" / environment / "bin" / "python"


def require(environments: Iterable[str]) -> None:
    """Ends the program with exit code 2 unless all of these environments are there."""
    missing = [f".peers/{environment}" for environment in environments if not python_of(environment).exists()]
    if missing:
        print(f"this benchmark needs {' and '.join(missing)}; build them with `make peers`", file=sys.stderr)
        raise SystemExit(2)


def ask(environment: str, script: str, *arguments: object, **variables: str) -> dict[str, Any]:
    """What a peer's script prints in its last line. Raises RuntimeError with its last words if it fails."""
    command = [str(python_of(environment)), str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    if done.returncode != 0:
        raise RuntimeError(f"{script} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def show(title: str, peer: str, rows: Iterable[Row]) -> None:
    """A table of comparisons; `peer` heads the column of those compared with."""
    table = Table("case", peer, "ratio", "ours", "theirs", "unit", "", title=title)
    for row in rows:
        ratio, ours, theirs = (f"{number:,.4g}" if number < 100 else f"{number:,.0f}" for number in row[2:5])
        table.add_row(row.case, row.peer, ratio, ours, theirs, row.unit, row.note)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def last_line(benchmark: str, rows: Iterable[Row]) -> str:
    """All rows as one line of JSON, numbers to four digits."""
    keys = ("case", "peer", "ratio", "ours", "theirs", "unit")
    short = (row._replace(**{key: float(f"{getattr(row, key):.4g}") for key in keys[2:5]}) for row in rows)
    return json.dumps({"benchmark": benchmark, "rows": [{key: getattr(row, key) for key in keys} for row in short]})
