"""A tournament of 200 entrants in which each pair plays 1,000 games, and games per CPU-second beside OpenSpiel's.

    python benchmarks/tournament_speed.py --entrants 200 --games 1000

The entrants are random strategies. The time is that of a whole tournament: all games, the store of matches, all ratings
with their intervals, and the report. Two threads play, as with `threads=2`. OpenSpiel plays the same game between two
uniform policies by its C++ loop over bots (`pyspiel.evaluate_bots`), in an environment of its own (`make peers`). It is
measured before and after; games per CPU-second are compared, which for the tournament include everything above.

The last line is JSON; a ratio above 1 means that marl_engine is faster.
"""

import argparse
import time
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from side_by_side import Row, format_json, print_table, require_peers, run_peer

from marl_engine.extensive_form.sequence_form import SequenceForm
from marl_engine.policies.tabular import TabularSpec, fill_tables
from marl_engine.ratings import rank
from marl_engine.tournaments import Entrant, Field, MatchStore, Tournament
from marl_engine.tournaments.entrants import make_entrant
from marl_engine.tournaments.summary import write_files
from marl_engine.view.report import write_report

ENVIRONMENT, SCRIPT = "openspiel", "openspiel_matches.py"
GAMES = {
    "leduc_poker": {"_target_": "games.openspiel.OpenSpiel", "name": "leduc_poker"},
    "blotto": {"_target_": "games.normal_form.MatrixGame", "name": "blotto(coins=5)"},
}


def draw_strategy(form: SequenceForm, random: np.random.Generator) -> np.ndarray:
    """Returns a random strategy (S,), with exponential weights in each information set."""
    weights = random.exponential(size=form.sequences)
    weights[: form.players] = 1
    starts = form.first[:-1].astype(np.int64)
    total = np.add.reduceat(weights, starts)
    weights[form.players :] /= np.repeat(total, np.diff(form.first))
    return weights


def make_field(section: dict[str, Any], count: int) -> Field:
    """Returns a field of random strategies."""
    from marl_engine.configuration import instantiate

    game, random = instantiate("game", section, device="cpu"), np.random.default_rng(0)
    entrants: list[Entrant] = []
    for number in range(count):
        profile = TabularSpec().profile(game)
        fill_tables(profile, draw_strategy(game.form, random))
        entrants.append(make_entrant(f"strategy_{number}", "random strategy", "table", profile))
    return Field(game, section, entrants)


def hold(field: Field, games: int, folder: Path) -> dict[str, float]:
    """Holds a tournament; returns wall seconds of its parts, and CPU seconds of all."""
    cpu, begin = time.process_time(), time.perf_counter()
    tournament = Tournament(field, MatchStore(folder), games=games)
    for _ in tournament.play():
        pass
    played = time.perf_counter()
    ranking = rank(tournament.results())
    rated = time.perf_counter()
    write_files(folder, tournament, ranking)
    write_report(folder / "report.html", "Benchmark", ranking, [])
    end = time.perf_counter()
    return {
        "play": played - begin,
        "rate": rated - played,
        "write": end - rated,
        "total": end - begin,
        "cpu": time.process_time() - cpu,
        "bytes": (folder / "report.html").stat().st_size,
    }


def main() -> None:
    """Runs the comparison, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=1000, help="games of each pair (default 1000)")
    parser.add_argument("--entrants", type=int, default=200, help="number of entrants (default 200)")
    parser.add_argument("--cases", nargs="+", default=list(GAMES), choices=list(GAMES))
    parser.add_argument("--seconds", type=float, default=3.0, help="of OpenSpiel, before and after (default 3)")
    options = parser.parse_args()
    require_peers([ENVIRONMENT])
    torch.set_num_threads(2)
    rows = []
    for case in options.cases:
        name = GAMES[case]["name"]
        with TemporaryDirectory() as folder:
            hold(make_field(GAMES[case], 4), 10, Path(folder) / "compile")
            before = run_peer(ENVIRONMENT, SCRIPT, name, options.seconds)["games_per_second"]
            spent = hold(make_field(GAMES[case], options.entrants), options.games, Path(folder) / "all")
            after = run_peer(ENVIRONMENT, SCRIPT, name, options.seconds)["games_per_second"]
        pairs = options.entrants * (options.entrants - 1) // 2
        speed, peer = pairs * options.games / spent["cpu"], mean([before, after])
        note = f"{spent['total']:.1f} s wall, of which play {spent['play']:.1f}, ratings {spent['rate']:.1f}, "
        note += f"files {spent['write']:.1f}; report {spent['bytes'] / 1e3:.0f} kB"
        title = f"{case}: {options.entrants} entrants, {options.games:,} games a pair"
        rows.append(Row(title, "OpenSpiel", speed / peer, speed, peer, "games/CPU-s", note))
    print_table("Tournaments", "peer", rows)
    print(format_json("tournament_speed", rows))


if __name__ == "__main__":
    main()
