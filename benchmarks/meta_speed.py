"""Milliseconds that games in normal form take to solve, here, in nashpy, QuantEcon and OpenSpiel, and how exactly.

Everybody gets the same random games, in turn: ours is timed before and after each peer, and medians are reported, so
that a slow minute of the machine strikes all alike. Each peer runs in its own environment (`make peers`) and
is compiled before it is timed. An answer is measured here, whoever gave it, in ranges of a player's payoffs: what
players gain by deviating, or for ratings and dynamics, how far two answers are apart. Answers that are farther off than
1e-3, errors and games that took too long count as failures; where a peer has none in time, the ratio says at least.
The most even CE has the largest entropy here, and in OpenSpiel the largest Gini index.
The last line is JSON; a ratio above 1 means that this engine leads.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from side_by_side import Row, ask, last_line, require, show

from solvers.normal_form.alpha_rank import alpha_rank
from solvers.normal_form.correlated import cce_regrets, ce_regrets, correlated_equilibrium, max_entropy_correlated
from solvers.normal_form.dynamics import projected_replicator, regret_matching
from solvers.normal_form.nash import nash
from solvers.normal_form.nash_averaging import nash_averaging
from solvers.normal_form.regrets import in_range, regrets
from solvers.normal_form.supports import pure_equilibrium

ENVIRONMENT, SCRIPT = "openspiel", "meta.py"
FAR = 1e-3
GAMES = {5: 10, 10: 10, 20: 5, 50: 3, 100: 3, 200: 2, 500: 1}  # of each size


class Problem(NamedTuple):
    """What is solved, for games of which sizes, by us and by whom else."""

    title: str
    make: Callable[[np.random.Generator, int], np.ndarray]
    solve: Callable[[np.ndarray], Any]
    peers: tuple[str, ...]
    most: int  # the largest size
    gain: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None  # of deviating; None: the answers are compared


def any_sum(random: np.random.Generator, size: int) -> np.ndarray:
    """Two players with payoffs of their own."""
    return random.normal(size=(2, size, size))


def mixed(players: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    """So many players with payoffs of their own, and no pure equilibrium, which would be found by looking."""

    def make(random: np.random.Generator, size: int) -> np.ndarray:
        while True:
            payoffs = random.normal(size=(players, *[size] * players))
            if pure_equilibrium(payoffs) is None:
                return payoffs

    return make


def opposite(random: np.random.Generator, size: int) -> np.ndarray:
    """What one wins the other loses."""
    row = random.normal(size=(size, size))
    return np.stack([row, -row])


def antisymmetric(random: np.random.Generator, size: int) -> np.ndarray:
    """The same, whoever is in which seat."""
    row = random.normal(size=(size, size))
    return np.stack([row - row.T, row.T - row])


def each_gains(payoffs: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Of strategies one after the other."""
    return regrets(payoffs, np.split(answer, np.cumsum(payoffs.shape[1:])[:-1]))


def told_gains(payoffs: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Of a joint distribution, by another action for each that one is told."""
    return ce_regrets(payoffs, answer.reshape(payoffs.shape[1:]))


def untold_gains(payoffs: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Of a joint distribution, by one action whatever one is told."""
    return cce_regrets(payoffs, answer.reshape(payoffs.shape[1:]))


ALL = ("QuantEcon", "nashpy", "OpenSpiel")
PROBLEMS = {
    "zero_sum": Problem("Nash, zero-sum", opposite, nash, ALL, 500, each_gains),
    "general_sum": Problem("Nash, two players", mixed(2), nash, ALL[:2], 500, each_gains),
    "three_players": Problem("Nash, three players", mixed(3), nash, ALL[:1], 10, each_gains),
    "ce": Problem("CE of most welfare", any_sum, correlated_equilibrium, ALL[2:], 100, told_gains),
    "cce": Problem(
        "CCE of most welfare", any_sum, lambda u: correlated_equilibrium(u, "cce"), ALL[2:], 100, untold_gains
    ),
    "even_ce": Problem("most even CE", any_sum, max_entropy_correlated, ALL[2:], 50, told_gains),
    "alpha_rank": Problem("alpha-Rank", any_sum, lambda u: alpha_rank(u, noise=0.01), ALL[2:], 50),
    "prd": Problem("PRD, 2,000 steps", any_sum, lambda u: projected_replicator(u, 2000), ALL[2:], 500),
    "regret_matching": Problem("regret matching, 2,000", any_sum, lambda u: regret_matching(u, 2000), ALL[2:], 500),
    "nash_averaging": Problem("Nash averaging", antisymmetric, lambda u: nash_averaging(u[0])[0], ALL[2:], 200),
}


def flat(answer: Any) -> np.ndarray:
    """Strategies or a joint distribution as one row of numbers."""
    return np.concatenate([np.ravel(each) for each in answer]) if isinstance(answer, list) else np.ravel(answer)


def timed(problem: Problem, games: list[np.ndarray]) -> tuple[list[float], list[np.ndarray]]:
    """Milliseconds and our answer for each game."""
    took, answers = [], []
    for payoffs in games:
        start = time.perf_counter()
        result = problem.solve(payoffs)
        took.append((time.perf_counter() - start) * 1e3)
        answers.append(flat(result))
    return took, answers


def errors(problem: Problem, games: list[np.ndarray], answers: dict[int, np.ndarray], ours: list[np.ndarray]):
    """How far each answer is off: the largest gain of a player, in ranges, or the distance from ours."""
    if problem.gain is None:
        return [float(np.abs(answer - ours[number]).max()) for number, answer in answers.items()]
    return [float(problem.gain(in_range(games[number]), answer).max()) for number, answer in answers.items()]


def compare(name: str, peer: str, size: int, seconds: float, folder: str) -> Row:
    """Ours, the peer, and ours again, on the same games."""
    problem = PROBLEMS[name]
    games = [problem.make(np.random.default_rng((size, number)), size) for number in range(GAMES[size])]
    source, target = str(Path(folder) / "games.npz"), str(Path(folder) / "answers.npz")
    np.savez(source, **{str(number): payoffs for number, payoffs in enumerate(games)})
    before, ours = timed(problem, games)
    texts = ask(ENVIRONMENT, SCRIPT, name, peer, source, seconds, target)
    after, _ = timed(problem, games)
    with np.load(target) as archive:
        theirs = {int(number): archive[number] for number in archive.files}
    off = errors(problem, games, theirs, ours)
    good = [error <= FAR for error in off]
    mine = median(before + after)
    yours = median(texts["milliseconds"]) if texts["milliseconds"] else seconds * 1e3
    note = f"off by {max(off):.0e}" if off else "no answer"
    if problem.gain is not None:
        note += f", ours {max(max(errors(problem, games, dict(enumerate(ours)), ours)), 0):.0e}"
    if sum(good) < len(games):
        note += f"; failed {len(games) - sum(good)} of {len(games)}" + (", too long" if texts["timed_out"] else "")
    return Row(f"{problem.title}, k = {size}", peer, yours / mine, mine, yours, "ms", note)


def main() -> None:
    """Measures, prints the table, and ends with the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[5, 20, 100], choices=list(GAMES), metavar="K")
    parser.add_argument("--seconds", type=float, default=5.0, help="after which a peer's game is given up (default 5)")
    options = parser.parse_args()
    require([ENVIRONMENT])
    rows, lost = [], set()
    with TemporaryDirectory() as folder:
        for name in options.problems:
            timed(PROBLEMS[name], [PROBLEMS[name].make(np.random.default_rng(0), 3)])  # compiled before it is timed
            for peer in PROBLEMS[name].peers:
                for size in sorted(options.sizes):
                    if size <= PROBLEMS[name].most and (name, peer) not in lost:
                        row = compare(name, peer, size, options.seconds, folder)
                        rows.append(row)
                        lost |= {(name, peer)} if "too long" in row.note else set()
    show("Games in normal form with k actions", "peer", rows)
    print(last_line("meta_speed", rows))


if __name__ == "__main__":
    main()
