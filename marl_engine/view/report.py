"""The report of a tournament: one HTML file without references to others, for browsers and for printing.

Tables of up to `CELLS` entrants are HTML; larger ones are drawn on a canvas from numbers in the page.
"""

from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marl_engine.ratings import Ranking, Rating
from marl_engine.runs.folder import write_atomically

CELLS = 30  # entrants of which every pair has a cell with its number
RADIUS, MIDDLE = 150, 200  # of the circle of the cycle graph, and its centre
ROUNDING = 1e-9  # relative differences below it are errors of rounding
NAMED = 24  # letters of a name in headings


class Cell(NamedTuple):
    """A number in a table of the report."""

    text: str
    tip: str  # shown when the pointer is on it
    sort: float
    begin: float = 0.0  # of the interval, in percent of the column's range
    width: float = 0.0
    at: float = 0.0  # of the value
    shade: float = 0.0  # from -1 to 1


class Arrow(NamedTuple):
    """An arrow of the cycle graph, from who wins to who loses."""

    x: float
    y: float
    to_x: float
    to_y: float
    tip: str


class Node(NamedTuple):
    """An entrant in the cycle graph."""

    x: float
    y: float
    name: str
    anchor: str


def write_report(path: Path, title: str, ranking: Ranking, facts: Sequence[tuple[str, str]], replays: Any = ()) -> None:
    """Writes the report. `facts` are lines (label, text) above the tables, `replays` pairs (caption, GIF file)."""
    from jinja2 import Environment

    results, order = ranking.results, list(ranking.order)
    few = len(order) <= CELLS
    nodes, arrows = draw_cycles(ranking)
    text = (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(files("marl_engine.view").joinpath("report.html").read_text("utf-8"))
        .render(
            title=title,
            facts=facts,
            verdict=ranking.cycles.verdict,
            team=results.team,
            several=results.lineups is not None,
            names=[results.names[each] for each in order],
            short=[shorten(results.names[each]) for each in order],
            ratings=ranking.ratings,
            rows=list(zip(*(rating_cells(each, order) for each in ranking.ratings), strict=True)),
            cells=heat_cells(ranking, order) if few else None,
            table=None if few else compact_table(ranking, order),
            cycles=ranking.cycles.strongest,
            entrants=results.names,
            nodes=nodes,
            arrows=arrows,
            replays=[(caption, b64encode(Path(file).read_bytes()).decode()) for caption, file in replays],
        )
    )
    write_atomically(path, text)


def shorten(name: str) -> str:
    """Returns a name for headings; long ones keep their end, which tells runs of a sweep apart."""
    return name if len(name) <= NAMED else f"…{name[1 - NAMED :]}"


def rating_cells(rating: Rating, order: Sequence[int]) -> list[Cell]:
    """Returns the column of a rating. Intervals are drawn within the range of all of them."""
    ends = np.concatenate([rating.value, rating.low, rating.high])
    ends = ends[np.isfinite(ends)]
    least, span = (ends.min(), float(np.ptp(ends))) if len(ends) else (0.0, 0.0)
    if span <= ROUNDING * np.abs(ends).max(initial=1.0):
        span = 1.0
    cells = []
    for each in order:
        value, low, high = (float(array[each]) for array in (rating.value, rating.low, rating.high))
        if not np.isfinite(value):
            cells.append(Cell("–", "not computed", -np.inf))
            continue
        known = np.isfinite(low) and np.isfinite(high)
        tip = f"{value:.4g}, 95% interval {low:.4g} to {high:.4g}" if known else f"{value:.4g}"
        begin, end = (low, high) if known else (value, value)
        places = [round(100 * (number - least) / span, 1) for number in (begin, end - begin + least, value)]
        cells.append(Cell(format_value(value, span), tip, value, *places))
    return cells


def format_value(value: float, span: float) -> str:
    """Returns a number with as many digits as the range of its column needs."""
    digits = int(np.clip(2 - np.floor(np.log10(span)), 0, 4))
    text = f"{value:.{digits}f}"
    return text if float(text) else text.removeprefix("-")


def shades(payoff: np.ndarray, team: bool) -> np.ndarray:
    """Returns shades (N, N) from -1 to 1 of payoffs: around their middle, which is 0 if they have both signs."""
    known = payoff[np.isfinite(payoff)]
    if not len(known):
        return np.zeros_like(payoff)
    middle = 0.0 if known.min() < 0 < known.max() and not team else (known.min() + known.max()) / 2
    size = float(np.abs(known - middle).max()) or 1.0
    shade: np.ndarray = np.nan_to_num((payoff - middle) / size)
    return shade


def heat_cells(ranking: Ranking, order: Sequence[int]) -> list[list[Cell]]:
    """Returns the cells of the table of payoffs."""
    results = ranking.results
    payoff, names = results.payoff[np.ix_(order, order)], [results.names[each] for each in order]
    shade, span = shades(payoff, results.team), float(np.nan_to_num(np.nanmax(payoff) - np.nanmin(payoff))) or 1.0
    return [
        [
            Cell(
                format_value(payoff[row, column], span) if np.isfinite(payoff[row, column]) else "",
                describe_pair(ranking, order[row], order[column]),
                float(np.nan_to_num(payoff[row, column])),
                shade=round(float(shade[row, column]), 3),
            )
            for column in range(len(names))
        ]
        for row in range(len(names))
    ]


def describe_pair(ranking: Ranking, one: int, other: int) -> str:
    """Returns the result of one entrant against another in words."""
    results = ranking.results
    relation = "with" if results.team else "against" if results.lineups is None else "in games with"
    pair = f"{results.names[one]} {relation} {results.names[other]}"
    if not results.games[one, other]:
        return f"{pair}: no games"
    payoff = f"{pair}: {results.payoff[one, other]:.4g}"
    if results.exact:
        return f"{payoff} (expectation)"
    verb = "won" if results.lineups is None else "earned more in"
    won = "" if results.team else f", {verb} {results.wins[one, other] / results.games[one, other]:.0%}"
    return f"{payoff} ± {results.stderr[one, other]:.2g}{won} of {results.games[one, other]:,.0f} games"


def compact_table(ranking: Ranking, order: Sequence[int]) -> dict[str, Any]:
    """Returns payoffs, standard errors and shades for the script of the page, with few digits."""
    results = ranking.results
    payoff, stderr = (table[np.ix_(order, order)] for table in (results.payoff, results.stderr))
    known = np.isfinite(payoff)
    return {
        "payoff": [
            [float(f"{number:.3g}") if known[i, j] else None for j, number in enumerate(row)]
            for i, row in enumerate(payoff)
        ],
        "stderr": [
            [float(f"{number:.1g}") if known[i, j] else None for j, number in enumerate(row)]
            for i, row in enumerate(stderr)
        ],
        "shade": [[round(100 * float(number)) for number in row] for row in shades(payoff, results.team)],
    }


def draw_cycles(ranking: Ranking) -> tuple[list[Node], list[Arrow]]:
    """Returns the entrants of the strongest cycles on a circle, with arrows from winners to losers."""
    results, cycles = ranking.results, ranking.cycles.strongest
    members = list(dict.fromkeys(each for cycle in cycles for each in cycle.entrants))
    angles = {each: 2 * np.pi * place / len(members) - np.pi / 2 for place, each in enumerate(members)}
    nodes = [
        Node(
            MIDDLE + RADIUS * np.cos(angle),
            MIDDLE + RADIUS * np.sin(angle),
            shorten(results.names[each]),
            "middle" if abs(np.cos(angle)) < 0.3 else "start" if np.cos(angle) > 0 else "end",
        )
        for each, angle in angles.items()
    ]
    places = dict(zip(members, nodes, strict=True))
    leads = {pair: lead for cycle in cycles for pair, lead in zip(steps(cycle.entrants), cycle.leads, strict=True)}
    arrows = []
    for (one, other), lead in leads.items():
        begin, end = places[one], places[other]
        tip = f"{results.names[one]} beats {results.names[other]}: lead {lead:.4g}"
        arrows.append(Arrow(begin.x, begin.y, 0.1 * begin.x + 0.9 * end.x, 0.1 * begin.y + 0.9 * end.y, tip))
    return nodes, arrows


def steps(entrants: Sequence[int]) -> list[tuple[int, int]]:
    """Returns the pairs (winner, loser) of a cycle."""
    return list(zip(entrants, [*entrants[1:], entrants[0]], strict=True))
