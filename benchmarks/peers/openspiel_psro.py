"""Measures the NashConv of OpenSpiel's PSRO (psro_v2) with its exact oracle, against CPU seconds.

Called by `benchmarks/psro_speed.py` with the Python of the peer's environment:
`openspiel_psro.py META GAME GAMES_PER_CELL ITERATIONS SECONDS SEED`. Prints one line of JSON.
"""

import contextlib
import io
import json
import sys
import time

import numpy as np
import pyspiel
from open_spiel.python import policy
from open_spiel.python.algorithms import exploitability, policy_aggregator
from open_spiel.python.algorithms.psro_v2 import best_response_oracle, psro_v2


def main(meta: str, name: str, games: int, iterations: int, seconds: float, seed: int) -> None:
    """Prints the curve as a line of JSON."""
    np.random.seed(seed)
    game = pyspiel.load_game(name)
    with contextlib.redirect_stdout(io.StringIO()):
        curve = run(game, meta, games, iterations, seconds)
    print(json.dumps({"curve": curve}))


def run(game, meta: str, games: int, iterations: int, seconds: float) -> list[tuple[float, float]]:
    """Returns CPU seconds and NashConv after every iteration, without the seconds that NashConv takes."""
    start, evaluation = time.process_time(), 0.0
    table = policy.TabularPolicy(game)
    oracle = best_response_oracle.BestResponseOracle(game=game, policy=table)
    solver = psro_v2.PSROSolver(
        game,
        oracle,
        initial_policies=[table.__copy__() for _ in range(game.num_players())],
        training_strategy_selector="probabilistic",
        sims_per_entry=games,
        meta_strategy_method=meta,
        prd_iterations=50_000,
        prd_gamma=1e-10,
        sample_from_marginals=True,
    )
    aggregator, curve = policy_aggregator.PolicyAggregator(game), []
    while len(curve) < iterations and time.process_time() - start - evaluation < seconds:
        solver.iteration()
        end = time.process_time()
        mixture = aggregator.aggregate(range(game.num_players()), solver.get_policies(), solver.get_meta_strategies())
        curve.append((end - start - evaluation, exploitability.nash_conv(game, mixture)))
        evaluation += time.process_time() - end
    return curve


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]))
