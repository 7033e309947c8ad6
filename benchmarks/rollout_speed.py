"""Compares the speed of sampled play of OpenSpiel's games with its rl_environment and Pgx, on one core.

    python benchmarks/rollout_speed.py --copies 64 1024 --peers "Pgx 2.6.0"

Speed is decisions per CPU-second, including everything that a learner needs: observations, legal actions, actions,
log-probabilities and payoffs. All programs play uniformly random actions. They run in turn, and medians are reported,
so that a slow minute of the machine affects all of them. Each peer has its own environment (`make peers`). OpenSpiel's
environment plays one game at a time, whatever the number of copies.

Further rows are for an MLP with two layers of 64 units. Its logits in all information sets are computed once for each
stretch of play; the peer of these rows is the same network, evaluated turn by turn. The last rows are for games that do
not fit into memory, which are played through OpenSpiel's states, by uniformly random actions (`--states`); peers are
OpenSpiel's environment and its vector of environments. The last line is JSON; a ratio above 1 means that marl_engine,
or the table of logits, is faster.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from side_by_side import Row, format_json, print_table, require_peers, run_peer

from games.openspiel import OpenSpiel, OpenSpielStates
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.tabular import TabularSpec
from marl_engine.rollout.stream import Stream
from marl_engine.types import Game, Policy, Profile

GAME = "leduc_poker"
TURNS = {64: 256, 1024: 64, 8192: 16}  # length of a stretch of play, by number of copies
OPENSPIEL, PGX, VECTOR = "OpenSpiel rl_environment", "Pgx 2.6.0", "OpenSpiel vector_env"
ENVIRONMENTS = {OPENSPIEL: "openspiel", PGX: "pgx"}
LARGE = ("connect_four", "phantom_ttt", "dark_hex(board_size=3)", "hanabi", "backgammon")  # games that do not fit
LARGE_COPIES = 256


class Uniform(Policy):
    """Plays uniformly random legal actions."""

    def __init__(self, actions: int):
        super().__init__()
        self.actions = actions

    def forward(self, rows, legal=None, memory=None):
        return Categorical(torch.zeros(len(rows), self.actions), legal), memory


def measure(profile: Profile, copies: int, seconds: float, game: Game | None = None) -> float:
    """Returns decisions per CPU-second of play in a number of copies, measured for `seconds`."""
    stream, turns = Stream(game or OpenSpiel(GAME), derive_seeds(0, copies)), TURNS.get(copies, 32)
    stream.play(profile, turns)
    stretches, start = 0, time.process_time()
    while time.process_time() < start + seconds:
        stream.play(profile, turns)
        stretches += 1
    return stretches * turns * copies / (time.process_time() - start)


def measure_peer(peer: str, copies: int, seconds: float) -> float:
    """Returns decisions per CPU-second of a peer."""
    if peer == PGX:
        reply = run_peer(ENVIRONMENTS[peer], "pgx_rollout.py", copies, TURNS[copies], seconds)
    else:
        reply = run_peer(ENVIRONMENTS[peer], "openspiel_rollout.py", GAME, seconds)
    return reply["decisions"]


def compare(own: Callable[[], float], peers: dict[str, Callable[[], float]], case: str, repeats: int) -> list[Row]:
    """Calls the measurements in turn, `repeats` times; returns a row with medians for each peer."""
    speeds: list[float] = []
    peer_speeds: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(repeats):
        speeds.append(own())
        for name, measurement in peers.items():
            peer_speeds[name].append(measurement())
    value, note = median(speeds), f"marl_engine {min(speeds) / 1e6:.2f} to {max(speeds) / 1e6:.2f} million"
    medians = {name: median(numbers) for name, numbers in peer_speeds.items()}
    return [
        Row(case, name, value / peer_value, value, peer_value, "decisions/CPU-s", note)
        for name, peer_value in medians.items()
    ]


def compare_uniform(copies: int, peers: list[str], repeats: int, seconds: float) -> list[Row]:
    """Compares play by uniform tables with peers."""
    own = partial(measure, TabularSpec().profile(OpenSpiel(GAME)), copies, seconds)
    measurements = {peer: partial(measure_peer, peer, copies, seconds) for peer in peers}
    return compare(own, measurements, f"uniform, {copies:,} copies", repeats)


def compare_network(copies: int, repeats: int, seconds: float) -> list[Row]:
    """Compares play by a table of a network's logits with play by the network itself, turn by turn."""
    table, network = (MLPSpec().profile(OpenSpiel(GAME)) for _ in range(2))
    for policy in network:
        policy.tabular = False
    own, turn_by_turn = (partial(measure, profile, copies, seconds) for profile in (table, network))
    return compare(own, {"turn by turn": turn_by_turn}, f"MLP 2x64, {copies:,} copies", repeats)


def compare_states(name: str, repeats: int, seconds: float) -> list[Row]:
    """Compares play through states with OpenSpiel's environments."""
    game = OpenSpielStates(name)
    own = partial(measure, [Uniform(game.actions)] * game.players, LARGE_COPIES, seconds, game)
    arguments = {OPENSPIEL: (), VECTOR: (LARGE_COPIES,)}
    peers = {
        peer: lambda extra=extra: run_peer("openspiel", "openspiel_rollout.py", name, seconds, *extra)["decisions"]
        for peer, extra in arguments.items()
    }
    return compare(own, peers, f"{name} through states, {LARGE_COPIES} copies", repeats)


def main() -> None:
    """Runs the comparisons, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", nargs="*", type=int, default=list(TURNS), choices=list(TURNS))
    parser.add_argument("--peers", nargs="*", default=list(ENVIRONMENTS), choices=list(ENVIRONMENTS))
    parser.add_argument("--states", nargs="*", default=list(LARGE), help="games that are played through states")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each program (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of a measurement (default 2)")
    options = parser.parse_args()
    require_peers(ENVIRONMENTS[peer] for peer in options.peers)
    torch.set_num_threads(1)
    rows = []
    for copies in options.copies:
        rows += compare_uniform(copies, options.peers, options.repeats, options.seconds)
    for copies in options.copies:
        rows += compare_network(copies, options.repeats, options.seconds)
    for name in options.states:
        rows += compare_states(name, options.repeats, options.seconds)
    print_table(f"Sampled play of {GAME} and of large games, one core", "peer", rows)
    print(format_json("rollout_speed", rows))


if __name__ == "__main__":
    main()
