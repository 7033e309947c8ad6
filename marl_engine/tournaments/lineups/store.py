"""The store of the games of line-ups, in an append-only file beside that of pairs.

A row has the tally of a line-up on a stretch of deals, with entrants in the order of their digests. The first deal is
part of the primary key, so that no game is counted twice.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from time import time
from typing import Any

import numpy as np

from marl_engine.errors import Refused
from marl_engine.populations.payoffs import Tally
from marl_engine.ratings.lineups import LineupTally, merge_lineups
from marl_engine.storage import AppendOnlyFile

FILE = "lineups.sqlite"
LAYOUT = 3  # number of the layout; other kinds of files have others
TABLES = (
    """CREATE TABLE lineups (
    entrants TEXT NOT NULL, begin INTEGER NOT NULL CHECK (begin >= 0), deals INTEGER NOT NULL CHECK (deals >= 1),
    mean TEXT NOT NULL, scatter TEXT NOT NULL, orders TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (entrants, begin)
) STRICT, WITHOUT ROWID""",
)

Digests = tuple[str, ...]  # of the entrants of a line-up, in ascending order


class LineupStore:
    """The games of line-ups in a folder. Raises Refused if the file there is something else."""

    def __init__(self, folder: Path):
        self.file = AppendOnlyFile(folder / FILE, TABLES, "lineups", LAYOUT)

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def agree(self, **about: Any) -> None:
        """See `AppendOnlyFile.agree`."""
        self.file.agree(**about)

    def add(self, begin: int, tallies: Mapping[Digests, LineupTally]) -> None:
        """Adds stretches that start with deal `begin`, all or none. Those that are there already are ignored."""
        rows = []
        for digests, (payoffs, orders) in tallies.items():
            numbers = (
                payoffs.mean.tolist(),
                payoffs.scatter.tolist(),
                [[*key, games] for key, games in orders.items()],
            )
            rows.append((" ".join(digests), begin, int(payoffs.games), *map(json.dumps, numbers), time()))
        self.file.add("INSERT INTO lineups VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)

    def ends(self) -> dict[Digests, int]:
        """Returns how many deals each line-up has played, in the order of their first games."""
        query = "SELECT entrants, MAX(begin + deals) FROM lineups GROUP BY entrants ORDER BY MIN(at), entrants"
        return {tuple(entrants.split(" ")): end for entrants, end in self.file.read(query)}

    def tallies(self) -> dict[Digests, LineupTally]:
        """Returns the tally of each line-up. Raises Refused for damaged ones."""
        tallies: dict[Digests, LineupTally] = {}
        query = "SELECT entrants, deals, mean, scatter, orders FROM lineups ORDER BY entrants, begin"
        for entrants, deals, *texts in self.file.read(query):
            digests, tally = tuple(entrants.split(" ")), self._read_tally(deals, texts)
            tallies[digests] = merge_lineups(tallies[digests], tally) if digests in tallies else tally
        return tallies

    def _read_tally(self, deals: int, texts: list[str]) -> LineupTally:
        """Returns a tally from what a row has. Raises Refused if it is not one."""
        try:
            mean, scatter, orders = (np.array(json.loads(text), float) for text in texts)
            players = len(mean)
            valid = scatter.shape == (players, players) and orders.ndim == 2 and orders.shape[1] == players + 1
            valid = valid and all(np.isfinite(each).all() for each in (mean, scatter, orders))
        except (ValueError, TypeError):
            valid = False
        if not valid:
            raise Refused(f"{self.file.path} is damaged: a line-up has no valid payoffs; choose another run=")
        counts = {tuple(int(place) for place in places): float(games) for *places, games in orders.tolist()}
        return LineupTally(Tally(deals, mean, scatter), counts)
