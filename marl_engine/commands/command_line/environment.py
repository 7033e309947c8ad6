"""Prepares imports and output for any environment."""

import os
import sys
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "configs"
PACKAGES = ("games", "solvers")  # named in presets; users may have folders with the same names


def prepare_imports() -> None:
    """Imports our packages before others with the same names, then allows imports from the current folder.

    The current folder comes last in the path, so that its files do not shadow library modules.
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
    """Makes printing and drawing robust: characters that the terminal cannot encode become question marks.

    Figures are written to files, so no window backend is used, whatever $MPLBACKEND says.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    os.environ["MPLBACKEND"] = "Agg"
