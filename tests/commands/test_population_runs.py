"""Runs of solvers that grow a population leave their table, picture and matches in the run folder."""

import json
import sqlite3

from command_runs import marl_train

SMALL = ("iterations=2", "evaluate_every=5")


def test_psro_leaves_its_table_and_matches(tmp_path):
    keys = ("game=kuhn_poker", "solver=psro", "solver.games=20", "solver.refine=1", "solver.draws=10")
    result = marl_train(tmp_path, *keys, *SMALL, "run=a")
    assert result.code == 0, result
    folder = tmp_path / "runs" / "a"
    table = json.loads((folder / "population.json").read_text())
    assert (folder / "population.png").stat().st_size > 1000
    assert len(table["weights"][0]["estimate"]) == table["members"][0] == 3
    with sqlite3.connect(folder / "matches.sqlite") as connection:
        (games,) = connection.execute("SELECT SUM(games) FROM matches").fetchone()
    assert games == sum(map(sum, table["games"]))
