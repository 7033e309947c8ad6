"""The notebooks run from top to bottom, and have the results that they describe."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def run_notebook(name, folder):
    """Runs a notebook; returns the dicts that its cells end with."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [
        eval(cell.outputs[-1]["data"]["text/plain"], {})
        for cell in notebook.cells
        if cell.cell_type == "code"
        and cell.outputs
        and "text/plain" in cell.outputs[-1].get("data", {})
        and cell.outputs[-1]["data"]["text/plain"].startswith("{")
    ]


def test_overcooked_is_learned(tmp_path):
    """Two networks earn at least 100 after 400,000 steps: five soups in a game."""
    notebook = nbformat.read(NOTEBOOKS / "01_overcooked.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    last = {cell["id"]: cell for cell in notebook.cells if cell.cell_type == "code"}
    scores = eval(last["cell-6"].outputs[0]["data"]["text/plain"], {})
    assert scores["return/mean"] > 100
    assert scores["return/stderr"] < 5
    assert (tmp_path / "overcooked.gif").stat().st_size > 10_000


def test_equilibria_are_where_they_are_known_to_be(tmp_path):
    """Kuhn's family of equilibria; Hedge's last iterate is away from the cycle's equilibrium, the optimistic one
    on it.
    """
    kuhn, ends, race = run_notebook("02_equilibria.ipynb", tmp_path)
    assert max(map(abs, kuhn.values())) < 1e-3
    assert ends["Hedge"] > 0.2 > 1e-6 > ends["optimistic"]
    assert race["CFR+"] < 1e-3 < race["CFR"]


def test_preferences_that_go_in_circles(tmp_path):
    """The answer with the highest reward can be exploited; the two learners that play the game end near its
    equilibrium.
    """
    rewarded, gaps, beaten = run_notebook("03_preferences.ipynb", tmp_path)
    assert all(each["reward"] > 0.2 > 1e-3 > each["game"] for each in rewarded.values())
    assert max(gaps["self-play"], gaps["Nash-MD"]) < gaps["start"] / 4
    assert gaps["best response"] > 1.5 * gaps["start"]
    assert gaps["online DPO"] > 2 * gaps["start"]
    assert max(beaten["self-play"], beaten["Nash-MD"]) < 0.57
    assert min(beaten["best response"], beaten["online DPO"]) > 0.59


def test_teams_that_see_each_other_earn_more(tmp_path):
    """More edges, better equilibria; stations that never see who sends fall silent, and earn nothing."""
    prices, returns = run_notebook("04_bayesian_networks.ipynb", tmp_path)
    assert prices["complete"] - prices["none"] >= 0.05
    assert prices["none"] < prices["line"] < prices["complete"]
    assert min(returns["complete"], returns["learned, annealed"]) > 1.5 > 0.5 > returns["MAPPO"]


def test_the_best_cook_is_the_one_that_nobody_trained(tmp_path):
    """Co-play earns more with others than self-play, and much more beside a random partner."""
    cross, beside = run_notebook("05_tournament.ipynb", tmp_path)
    assert next(iter(cross)) == "cook_100"
    self_play = "self-play 1", "self-play 2"
    assert cross["co-play"] > 1.2 * max(cross[name] for name in self_play)
    assert beside["co-play"] > 2 * max(beside[name] for name in self_play)
