"""Measures the milliseconds that other libraries take to solve games in normal form, and saves their answers.

Called by `benchmarks/meta_speed.py` with the Python of the peers' environment:
`meta.py PROBLEM PEER GAMES SECONDS ANSWERS`. GAMES is an .npz file with payoffs (P, A, B, …) by number; ANSWERS is
written, with a vector for each number. If a game takes longer than SECONDS, the run ends. Prints one line of JSON.
"""

import io
import json
import sys
import time
from contextlib import redirect_stdout
from multiprocessing import get_context

import numpy as np


def zero_sum(peer, payoffs):
    """Returns both strategies, for payoffs (2, A, B) that sum to 0."""
    if peer == "nashpy":
        import nashpy

        return np.concatenate(nashpy.Game(payoffs[0]).linear_program())
    if peer == "QuantEcon":
        from quantecon.optimize import minmax

        return np.concatenate(minmax(payoffs[0])[1:])
    import pyspiel
    from open_spiel.python.algorithms.lp_solver import solve_zero_sum_matrix_game

    game = pyspiel.create_matrix_game(payoffs[0].tolist(), payoffs[1].tolist())
    return np.concatenate([np.ravel(each) for each in solve_zero_sum_matrix_game(game)[:2]])


def general_sum(peer, payoffs):
    """Returns both strategies, by Lemke and Howson's method."""
    if peer == "nashpy":
        import nashpy

        return np.concatenate(nashpy.Game(*payoffs).lemke_howson(initial_dropped_label=0))
    from quantecon.game_theory import lemke_howson

    return np.concatenate(lemke_howson(game_of(payoffs), capping=10))


def three_players(peer, payoffs):
    """Returns the strategies of any number of players."""
    from quantecon.game_theory import mclennan_tourky

    return np.concatenate(mclennan_tourky(game_of(payoffs)))


def game_of(payoffs):
    """Returns QuantEcon's game: each player's own axis comes first, then those of the following players, cyclically."""
    from quantecon.game_theory import NormalFormGame, Player

    players = range(len(payoffs))
    arrays = [payoff.transpose(*players[player:], *players[:player]) for player, payoff in enumerate(payoffs)]
    return NormalFormGame([Player(np.ascontiguousarray(array)) for array in arrays])


def joint(name):
    """Returns a function that computes a joint distribution by a solver of OpenSpiel's JPSRO."""

    def solve(peer, payoffs):
        from open_spiel.python.algorithms import jpsro

        result, _ = getattr(jpsro, name)(payoffs, [np.ones(actions) for actions in payoffs.shape[1:]])
        return np.ravel(result)

    return solve


def alpha_rank(peer, payoffs):
    """Returns the stationary distribution, with infinite alpha and a noise of 0.01."""
    from open_spiel.python.egt.alpharank import compute

    return compute(list(payoffs), m=50, alpha=100, use_inf_alpha=True, inf_alpha_eps=0.01)[2]


def dynamics(name, **options):
    """Returns a function that computes the average strategies of one of OpenSpiel's dynamics."""

    def solve(peer, payoffs):
        from importlib import import_module

        learn = getattr(import_module(f"open_spiel.python.algorithms.{name}"), name)
        return np.concatenate(learn(list(payoffs), **options))

    return solve


def nash_averaging(peer, payoffs):
    """Returns the equilibrium with the highest entropy, for an antisymmetric payoff of the first player."""
    from open_spiel.python.algorithms.nash_averaging import _max_entropy_symmetric_nash

    return np.ravel(_max_entropy_symmetric_nash(payoffs[0], eps=0.0))


PROBLEMS = {
    "zero_sum": zero_sum,
    "general_sum": general_sum,
    "three_players": three_players,
    "ce": joint("_mwce"),
    "cce": joint("_mwcce"),
    "even_ce": joint("_mgce"),
    "alpha_rank": alpha_rank,
    "prd": dynamics("projected_replicator_dynamics", prd_iterations=2000),
    "regret_matching": dynamics("regret_matching", iterations=2000, gamma=0.0),
    "nash_averaging": nash_averaging,
}


def solve_games(sender, solve, peer, games):
    """Sends milliseconds and an answer for each game; the answer is None if the solver fails."""
    for payoffs in games:
        start = time.perf_counter()
        try:
            with redirect_stdout(io.StringIO()):
                result = solve(peer, payoffs)
        except Exception:  # any failure of the peer
            result = None
        sender.send(((time.perf_counter() - start) * 1e3, result))


def main(problem, peer, source, seconds, target):
    """Prints milliseconds as a line of JSON, and writes the answers."""
    archive = np.load(source)
    games = [archive[str(number)] for number in range(len(archive.files))]
    solve, processes = PROBLEMS[problem], get_context("fork")
    corner = np.asarray(games[0])[(slice(None), *[slice(3)] * len(games[0]))]
    with redirect_stdout(io.StringIO()):
        solve(peer, corner)  # compiles
    receiver, sender = processes.Pipe(duplex=False)
    child = processes.Process(target=solve_games, args=(sender, solve, peer, games), daemon=True)
    child.start()
    times, answers = [], {}
    for number in range(len(games)):
        if not receiver.poll(seconds):
            break
        milliseconds, result = receiver.recv()
        times.append(milliseconds)
        if result is not None:
            answers[str(number)] = np.asarray(result, float)
    child.kill()
    np.savez(target, **answers)
    print(json.dumps({"milliseconds": times, "timed_out": len(times) < len(games)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), sys.argv[5])
