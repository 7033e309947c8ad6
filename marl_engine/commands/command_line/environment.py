"""What a command needs of its surroundings, whatever they are: our own packages and presets, and output of any text."""

import os
import sys
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "configs"
PACKAGES = ("games", "solvers")  # named in presets, by words that users have folders for, too


def prepare_imports() -> None:
    """Imports our packages before others of their names, then lets classes be imported from the current folder.

    The current folder comes last, so that nothing in it stands in for a module of a library.
    """
    sys.path.insert(0, str(ROOT))
    try:
        for package in PACKAGES:
            import_module(package)
    finally:
        sys.path.remove(str(ROOT))
    if "" not in sys.path:
        sys.path.append("")


def prepare_output() -> None:
    """Nothing that is printed or drawn fails for the screen: letters that its encoding lacks become question marks.

    Pictures are files, so a backend for windows is not looked for, nor whether $MPLBACKEND names one.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    os.environ["MPLBACKEND"] = "Agg"
