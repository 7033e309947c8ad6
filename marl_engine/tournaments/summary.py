"""The results of a tournament as files: tournament.json, ratings.csv, matches.csv; lineups.csv of a free-for-all."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from marl_engine.ratings import Ranking
from marl_engine.ratings.lineups import Lineups
from marl_engine.runs.folder import versions, write_atomically
from marl_engine.tournaments.tournament import Tournament

JSON, RATINGS, MATCHES, LINEUPS = "tournament.json", "ratings.csv", "matches.csv", "lineups.csv"


def write_files(folder: Path, tournament: Tournament, ranking: Ranking) -> None:
    """Writes the files into a folder; each is replaced at once."""
    text = json.dumps(describe(tournament, ranking), indent=1, allow_nan=False)
    write_atomically(folder / JSON, text + "\n")
    write_atomically(folder / RATINGS, ratings_table(ranking))
    write_atomically(folder / MATCHES, matches_table(ranking))
    if ranking.results.lineups is not None:
        write_atomically(folder / LINEUPS, lineups_table(ranking.results.names, ranking.results.lineups))


def describe(tournament: Tournament, ranking: Ranking) -> dict[str, Any]:
    """Returns the results for JSON, entrants in the order of the ranking; nan becomes null."""
    order, results = list(ranking.order), ranking.results
    entrants = [tournament.field.entrants[each] for each in order]
    tables = ("games", "wins", "draws", "payoff", "stderr")
    return {
        "game": dict(tournament.field.section),
        "schedule": tournament.schedule,
        "seed": tournament.seed,
        "team": results.team,
        "exact": results.exact,
        "games": 0 if results.exact else count_games(ranking),
        "verdict": ranking.cycles.verdict,
        "entrants": [{"name": each.name, "origin": each.origin, "digest": each.digest} for each in entrants],
        "ratings": {
            rating.key: {
                "title": rating.title,
                "meaning": rating.meaning,
                "notes": list(rating.notes),
                **{name: numbers(getattr(rating, name)[order]) for name in ("value", "low", "high")},
            }
            for rating in ranking.ratings
        },
        "tables": {name: numbers(getattr(results, name)[np.ix_(order, order)]) for name in tables},
        "cycles": {
            "cyclic_share": numbers(np.array(ranking.cycles.share)),
            "triples": ranking.cycles.triples,
            "strongest": [
                {"entrants": [results.names[each] for each in cycle.entrants], "leads": numbers(np.array(cycle.leads))}
                for cycle in ranking.cycles.strongest
            ],
        },
        "versions": versions(),
    }


def count_games(ranking: Ranking) -> int:
    """Returns the number of games between different entrants, and of teams with themselves; of all line-ups."""
    if (lineups := ranking.results.lineups) is not None:
        return round(sum(sum(orders.values()) for orders in lineups.orders))
    games = ranking.results.games
    return int(games.sum() + np.trace(games)) // 2


def numbers(array: np.ndarray) -> Any:
    """Returns an array as lists of numbers with nine digits; those that are not finite become None."""
    if array.ndim:
        return [numbers(each) for each in array]
    return float(f"{float(array):.9g}") if np.isfinite(array) else None


def ratings_table(ranking: Ranking) -> str:
    """Returns a line for each entrant, best first, with all ratings and their intervals, as CSV."""
    heading = ["entrant"]
    for rating in ranking.ratings:
        heading += [rating.key, f"{rating.key}_low", f"{rating.key}_high"]
    rows = [
        [ranking.results.names[each]]
        + [plain(array[each]) for rating in ranking.ratings for array in (rating.value, rating.low, rating.high)]
        for each in ranking.order
    ]
    return to_csv([heading, *rows])


def matches_table(ranking: Ranking) -> str:
    """Returns a line for each pair that has met, in the order of the ranking, as CSV."""
    results = ranking.results
    rows = [["entrant", "opponent", "games", "wins", "draws", "payoff", "stderr"]]
    for one in ranking.order:
        for other in ranking.order:
            if results.games[one, other] > 0 and (one != other or results.team):
                cells = (getattr(results, name)[one, other] for name in ("games", "wins", "draws", "payoff", "stderr"))
                rows.append([results.names[one], results.names[other], *map(plain, cells)])
    return to_csv(rows)


def lineups_table(names: Sequence[str], lineups: Lineups) -> str:
    """Returns a line for each entrant of each line-up, with mean payoff and standard error, as CSV."""
    rows = [["lineup", "entrant", "games", "payoff", "stderr"]]
    errors = np.sqrt(np.einsum("mpp->mp", lineups.covariance))
    for number, (entrants, orders) in enumerate(zip(lineups.entrants, lineups.orders, strict=True)):
        for place, entrant in enumerate(entrants):
            cells = (sum(orders.values()), lineups.mean[number, place], errors[number, place])
            rows.append([str(number), names[entrant], *map(plain, cells)])
    return to_csv(rows)


def plain(number: float) -> str:
    """Returns a number with nine digits; nan is empty."""
    return f"{number:.9g}" if np.isfinite(number) else ""


def to_csv(rows: list[list[str]]) -> str:
    """Returns rows as the text of a CSV file."""
    file = StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
