"""Plays games between two uniform policies by OpenSpiel's loop over bots; prints games per CPU-second as JSON.

python openspiel_matches.py GAME SECONDS
"""

import json
import sys
import time

import pyspiel


def main() -> None:
    """Plays for a number of CPU seconds."""
    name, seconds = sys.argv[1], float(sys.argv[2])
    game = pyspiel.load_game(name)
    if game.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        game = pyspiel.convert_to_turn_based(game)  # bots play in turn
    policy = pyspiel.UniformRandomPolicy(game)  # faster than a table, which is asked by strings
    bots = [pyspiel.make_policy_bot(game, player, player, policy) for player in range(2)]
    games, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        for _ in range(100):
            pyspiel.evaluate_bots(game.new_initial_state(), bots, games)
            games += 1
    print(json.dumps({"games_per_second": games / (time.process_time() - start)}))


if __name__ == "__main__":
    main()
