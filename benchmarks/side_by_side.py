"""Shared by the benchmarks: runs scripts of peers in their own environments, and prints comparisons with them.

A benchmark prints a table and then, as its last line, one JSON object:
`{"benchmark": ..., "rows": [{"case": ..., "peer": ..., "ratio": ..., "value": ..., "peer_value": ..., "unit": ...}]}`.
A ratio above 1 means that marl_engine is better.
"""

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
    """A comparison of marl_engine with a peer."""

    case: str
    peer: str
    ratio: float  # above 1: marl_engine is better
    value: float  # of marl_engine, in `unit`
    peer_value: float
    unit: str
    note: str = ""


def peer_python(environment: str) -> Path:
    """Returns the path of the Python interpreter of a peer's environment."""
    return ROOT / ".peers" / environment / "bin" / "python"


def require_peers(environments: Iterable[str]) -> None:
    """Exits with code 2 unless all environments exist."""
    missing = [f".peers/{environment}" for environment in environments if not peer_python(environment).exists()]
    if missing:
        print(f"this benchmark needs {' and '.join(missing)}; build them with `make peers`", file=sys.stderr)
        raise SystemExit(2)


def run_peer(environment: str, script: str, *arguments: object, **variables: str) -> dict[str, Any]:
    """Runs a script of `benchmarks/peers` in a peer's environment, and returns the JSON object in its last line.

    `variables` are added to the environment variables. Raises RuntimeError with the script's last error line if it
    fails.
    """
    command = [str(peer_python(environment)), str(SCRIPTS / script), *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    if process.returncode != 0:
        raise RuntimeError(f"{script} failed: {process.stderr.strip().splitlines()[-1]}")
    return json.loads(process.stdout.splitlines()[-1])


class PeerProcess:
    """A script of `benchmarks/peers` that stays open, so that short measurements of several programs can alternate.

    It answers each line that it reads, a number of seconds, with a JSON object in a line.
    """

    def __init__(self, environment: str, script: str, *arguments: object):
        self.command = [str(peer_python(environment)), str(SCRIPTS / script), *map(str, arguments)]

    def __enter__(self) -> "PeerProcess":
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()  # closes its input, which ends it

    def measure(self, seconds: float) -> dict[str, Any]:
        """Returns the result of a measurement that takes `seconds`. Raises RuntimeError if the script has failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(seconds, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{' '.join(self.command)} failed")
        return json.loads(answer)


def print_table(title: str, peer: str, rows: Iterable[Row]) -> None:
    """Prints a table of comparisons; `peer` is the heading of the column of peers."""
    table = Table("case", peer, "ratio", "marl_engine", "peer", "unit", "", title=title)
    for row in rows:
        numbers = (f"{number:,.4g}" if number < 100 else f"{number:,.0f}" for number in row[2:5])
        table.add_row(row.case, row.peer, *numbers, row.unit, row.note)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def format_json(benchmark: str, rows: Iterable[Row]) -> str:
    """Returns all rows as one line of JSON, with numbers to four digits."""
    keys = ("case", "peer", "ratio", "value", "peer_value", "unit")
    rounded = (row._replace(**{key: float(f"{getattr(row, key):.4g}") for key in keys[2:5]}) for row in rows)
    return json.dumps({"benchmark": benchmark, "rows": [{key: getattr(row, key) for key in keys} for row in rounded]})
