"""Imports point in one direction, without circles; heavy libraries are loaded lazily; files are short."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("marl_engine", "games", "solvers")
FLOORS = [  # a room imports from the floors before its own, and from rooms of its own floor that do not import from it
    {"types", "errors", "spaces", "capabilities", "configuration", "interruption", "teams"},
    {"numerics", "runners", "storage"},
    {"networks", "losses", "extensive_form"},
    {"policies", "rollout"},
    {"responders", "populations", "evaluation"},
    {"games", "solvers"},
    {"runs", "ratings"},
    {"tournaments"},
    {"view", "play"},
    {"commands"},
]
LOWEST = {
    "types": set(),
    "errors": set(),
    "interruption": set(),
    "spaces": set(),
    "capabilities": {"types", "spaces"},
    "configuration": {"errors", "types"},
    "teams": {"capabilities", "errors", "types"},
}  # what the first floor imports of ours
APART = [("games", "solvers"), ("solvers", "games")]  # never, though on one floor
UPWARD = {("solvers", "runs"): {"solvers.best_response", "solvers.preference.dno"}}  # play against saved runs
LAZY = (
    *("ray", "open_spiel", "pyspiel", "pettingzoo", "transformers", "matplotlib", "PIL", "tensorboard"),
    *(
        "quantecon",
        "clarabel",
        "peft",
        "gguf",
        "gymnasium",
        "vaderSentiment",
        "pyarrow",
        "datasets",
        "openskill",
        "jinja2",
        "starlette",
        "uvicorn",
        "websockets",
    ),
)
FILES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def module_of(path: Path) -> str:
    """Returns the dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Returns the modules that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= (
                {f"marl_engine.{each.name}" for each in node.names} if node.module == "marl_engine" else {node.module}
            )
    return {name for name in names - {"marl_engine.__version__"} if name.partition(".")[0] in PACKAGES}


def room_of(module: str) -> str:
    """Returns the package of a module: a folder of the engine, a file beside them, games or solvers."""
    package, _, inside = module.partition(".")
    return inside.partition(".")[0] if package == "marl_engine" else package


@cache
def floor_of(room: str) -> int:
    """Returns the layer of a package."""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


EDGES = {
    (module_of(path), name)
    for path in FILES
    for name in imports_of(path)
    if room_of(name) and room_of(module_of(path)) not in ("", room_of(name))
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    module = module_of(path)
    for name in imports_of(path):
        one, other = room_of(module), room_of(name)
        if not one or one == other or module in UPWARD.get((one, other), ()):
            continue
        assert floor_of(other) <= floor_of(one), f"{module} imports {name}, which is on a floor above"
        assert (one, other) not in APART, f"{module} imports {name}"
        assert one not in LOWEST or other in LOWEST[one], f"{module} imports {name}"


def test_rooms_go_round_in_no_circle():
    below = {}
    for module, name in EDGES:
        if module not in UPWARD.get((room_of(module), room_of(name)), ()):
            below.setdefault(room_of(module), set()).add(room_of(name))
    while free := {room for room in below if not below[room] & below.keys()}:
        below = {room: rooms for room, rooms in below.items() if room not in free}
    assert not below


def test_every_room_says_what_lives_there():
    for folder in {path.parent for path in FILES}:
        text = (folder / "__init__.py").read_text()
        assert ast.get_docstring(ast.parse(text)), folder
        assert len(list(folder.glob("*.py"))) <= 14, f"{folder} is a hall"


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
