"""The notebooks run from top to bottom, and find what they say they find."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def test_overcooked_is_learned(tmp_path):
    """Two networks earn 100 and more after 400,000 steps: five soups and more in a game."""
    notebook = nbformat.read(NOTEBOOKS / "01_overcooked.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    last = {cell["id"]: cell for cell in notebook.cells if cell.cell_type == "code"}
    scores = eval(last["cell-6"].outputs[0]["data"]["text/plain"], {})
    assert scores["return/mean"] > 100
    assert scores["return/stderr"] < 5
    assert (tmp_path / "overcooked.gif").stat().st_size > 10_000
