"""Compares solvers of games in normal form with nashpy, QuantEcon and OpenSpiel: milliseconds for a game, and accuracy.

    python benchmarks/meta_speed.py --problems zero_sum ce --sizes 5 20

All libraries solve the same random games. marl_engine is timed before and after each peer, and medians are reported, so
that a slow minute of the machine affects all of them. Each peer has its own environment (`make peers`), and compiles
its code before it is timed.

Errors are computed by marl_engine, in units of the range of a player's payoffs: the largest gain of a player by
deviating, or for ratings and dynamics the distance between both results. A peer fails on a game if its error is above
1e-3, if it raises an exception, or if it takes longer than `--seconds`. If it solves no game in time, the ratio is a
lower bound. The most even CE maximises entropy in marl_engine, and the Gini index in OpenSpiel.

The last line is JSON; a ratio above 1 means that marl_engine is faster.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from side_by_side import Row, format_json, print_table, require_peers, run_peer

from solvers.normal_form.alpha_rank import alpha_rank
from solvers.normal_form.correlated import cce_regrets, ce_regrets, correlated_equilibrium, max_entropy_correlated
from solvers.normal_form.dynamics import projected_replicator, regret_matching
from solvers.normal_form.nash import nash
from solvers.normal_form.nash_averaging import nash_averaging
from solvers.normal_form.regrets import in_range, regrets
from solvers.normal_form.supports import pure_equilibrium

ENVIRONMENT, SCRIPT = "openspiel", "meta.py"
TOLERANCE = 1e-3  # larger errors are failures
GAMES = {5: 10, 10: 10, 20: 5, 50: 3, 100: 3, 200: 2, 500: 1}  # number of games by size


class Problem(NamedTuple):
    """A kind of game, what is to be computed, and who computes it."""

    title: str
    make: Callable[[np.random.Generator, int], np.ndarray]  # payoffs (P, A, B, …) of a game with a number of actions
    solve: Callable[[np.ndarray], Any]
    peers: tuple[str, ...]
    max_size: int
    gain: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None  # by deviating; None: results are compared


def general_sum(random: np.random.Generator, size: int) -> np.ndarray:
    """Draws independent payoffs of two players."""
    return random.normal(size=(2, size, size))


def without_pure_equilibrium(players: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Returns a function that draws independent payoffs of a number of players, without a pure equilibrium.

    A pure equilibrium would be trivial to find.
    """

    def make(random: np.random.Generator, size: int) -> np.ndarray:
        while True:
            payoffs = random.normal(size=(players, *[size] * players))
            if pure_equilibrium(payoffs) is None:
                return payoffs

    return make


def zero_sum(random: np.random.Generator, size: int) -> np.ndarray:
    """Draws payoffs of two players that sum to 0."""
    row = random.normal(size=(size, size))
    return np.stack([row, -row])


def antisymmetric(random: np.random.Generator, size: int) -> np.ndarray:
    """Draws payoffs of a symmetric zero-sum game."""
    row = random.normal(size=(size, size))
    return np.stack([row - row.T, row.T - row])


def nash_gains(payoffs: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Returns the gain of each player (P,) by a best response; `answer` has all strategies, one after the other."""
    return regrets(payoffs, np.split(answer, np.cumsum(payoffs.shape[1:])[:-1]))


def ce_gains(payoffs: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Returns the gain of each player (P,) by replacing recommended actions of a joint distribution."""
    return ce_regrets(payoffs, answer.reshape(payoffs.shape[1:]))


def cce_gains(payoffs: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Returns the gain of each player (P,) by a fixed action instead of a joint distribution."""
    return cce_regrets(payoffs, answer.reshape(payoffs.shape[1:]))


PEERS = ("QuantEcon", "nashpy", "OpenSpiel")
PROBLEMS = {
    "zero_sum": Problem("Nash, zero-sum", zero_sum, nash, PEERS, 500, nash_gains),
    "general_sum": Problem("Nash, two players", without_pure_equilibrium(2), nash, PEERS[:2], 500, nash_gains),
    "three_players": Problem("Nash, three players", without_pure_equilibrium(3), nash, PEERS[:1], 10, nash_gains),
    "ce": Problem("CE of most welfare", general_sum, correlated_equilibrium, PEERS[2:], 100, ce_gains),
    "cce": Problem(
        "CCE of most welfare", general_sum, lambda u: correlated_equilibrium(u, "cce"), PEERS[2:], 100, cce_gains
    ),
    "even_ce": Problem("most even CE", general_sum, max_entropy_correlated, PEERS[2:], 50, ce_gains),
    "alpha_rank": Problem("alpha-Rank", general_sum, lambda u: alpha_rank(u, noise=0.01), PEERS[2:], 50),
    "prd": Problem("PRD, 2,000 steps", general_sum, lambda u: projected_replicator(u, 2000), PEERS[2:], 500),
    "regret_matching": Problem(
        "regret matching, 2,000", general_sum, lambda u: regret_matching(u, 2000), PEERS[2:], 500
    ),
    "nash_averaging": Problem("Nash averaging", antisymmetric, lambda u: nash_averaging(u[0])[0], PEERS[2:], 200),
}


def flatten(answer: Any) -> np.ndarray:
    """Returns strategies or a joint distribution as a vector."""
    return np.concatenate([np.ravel(part) for part in answer]) if isinstance(answer, list) else np.ravel(answer)


def time_solver(problem: Problem, games: list[np.ndarray]) -> tuple[list[float], list[np.ndarray]]:
    """Solves all games with marl_engine; returns milliseconds and answers."""
    milliseconds, answers = [], []
    for payoffs in games:
        start = time.perf_counter()
        result = problem.solve(payoffs)
        milliseconds.append((time.perf_counter() - start) * 1e3)
        answers.append(flatten(result))
    return milliseconds, answers


def measure_errors(
    problem: Problem, games: list[np.ndarray], answers: dict[int, np.ndarray], reference: list[np.ndarray]
) -> list[float]:
    """Returns the error of each answer: the largest gain of a player, or the distance from the reference's answer."""
    if problem.gain is None:
        return [float(np.abs(answer - reference[number]).max()) for number, answer in answers.items()]
    return [float(problem.gain(in_range(games[number]), answer).max()) for number, answer in answers.items()]


def compare(name: str, peer: str, size: int, seconds: float, folder: str) -> Row:
    """Times marl_engine, the peer, and marl_engine again on the same games.

    A peer's game is given up after `seconds`; `folder` is for temporary files.
    """
    problem = PROBLEMS[name]
    games = [problem.make(np.random.default_rng((size, number)), size) for number in range(GAMES[size])]
    source, target = str(Path(folder) / "games.npz"), str(Path(folder) / "answers.npz")
    np.savez(source, **{str(number): payoffs for number, payoffs in enumerate(games)})
    first_times, answers = time_solver(problem, games)
    reply = run_peer(ENVIRONMENT, SCRIPT, name, peer, source, seconds, target)
    second_times, _ = time_solver(problem, games)
    with np.load(target) as archive:
        peer_answers = {int(number): archive[number] for number in archive.files}
    peer_errors = measure_errors(problem, games, peer_answers, answers)
    successes = sum(error <= TOLERANCE for error in peer_errors)
    value = median(first_times + second_times)
    peer_value = median(reply["milliseconds"]) if reply["milliseconds"] else seconds * 1e3
    note = f"error of the peer {max(peer_errors):.0e}" if peer_errors else "no answer of the peer"
    if problem.gain is not None:
        error = max(measure_errors(problem, games, dict(enumerate(answers)), answers))
        note += f", of marl_engine {max(error, 0):.0e}"
    if successes < len(games):
        note += f"; the peer failed {len(games) - successes} of {len(games)}"
        note += ", too long" if reply["timed_out"] else ""
    return Row(f"{problem.title}, k = {size}", peer, peer_value / value, value, peer_value, "ms", note)


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[5, 20, 100], choices=list(GAMES), metavar="K")
    parser.add_argument("--seconds", type=float, default=5.0, help="time limit of a peer for one game (default 5)")
    options = parser.parse_args()
    require_peers([ENVIRONMENT])
    rows, timeouts = [], set()
    with TemporaryDirectory() as folder:
        for name in options.problems:
            time_solver(PROBLEMS[name], [PROBLEMS[name].make(np.random.default_rng(0), 3)])  # compiles
            for peer in PROBLEMS[name].peers:
                for size in sorted(options.sizes):
                    if size <= PROBLEMS[name].max_size and (name, peer) not in timeouts:
                        row = compare(name, peer, size, options.seconds, folder)
                        rows.append(row)
                        timeouts |= {(name, peer)} if "too long" in row.note else set()
    print_table("Games in normal form with k actions", "peer", rows)
    print(format_json("meta_speed", rows))


if __name__ == "__main__":
    main()
