"""Imports point one way, heavy libraries load where they are used, and files stay short enough to read."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("marl_engine", "games", "solvers")
FORBIDDEN = {"games": {"solvers", "marl_engine.commands"}, "solvers": {"games", "marl_engine.commands"}}
FILES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
LAZY = (
    *("ray", "open_spiel", "pyspiel", "pettingzoo", "transformers", "matplotlib", "PIL", "tensorboard"),
    *("quantecon", "clarabel", "peft", "gguf", "gymnasium", "vaderSentiment", "pyarrow", "datasets"),
)


def imported(path: Path) -> set[str]:
    """The modules that a file names in its imports, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def forbidden(path: Path) -> set[str]:
    """What a file must not import."""
    package = path.relative_to(ROOT).parts[0]
    if package == "marl_engine" and "commands" not in path.parts:
        return {"games", "solvers", "marl_engine.commands"}
    return FORBIDDEN.get(package, set())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    bad = forbidden(path)
    assert not [name for name in imported(path) if any(name == each or name.startswith(f"{each}.") for each in bad)]


def test_types_import_torch_and_nothing_of_ours():
    ours = {name for name in imported(ROOT / "marl_engine/types.py") if name.partition(".")[0] in PACKAGES}
    assert not ours


def test_importing_the_engine_is_light():
    code = f"import marl_engine, games.overcooked, sys; print([name for name in {LAZY} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_fit_on_screens(path):
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name
