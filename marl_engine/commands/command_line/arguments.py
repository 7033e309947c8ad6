"""The command line: key=value words, and the flags that Hydra knows."""

from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hydra._internal.utils import get_args_parser

from marl_engine.errors import Refused, choice

ALONE = ("multirun", "cfg", "info", "shell_completion", "run")  # flags that say what is done: one at a time

FOREIGN = ("config_path", "config_name", "experimental_rerun")  # flags by which Hydra would run something else


class Line(NamedTuple):
    """What was typed after the name of the command."""

    words: list[str]  # key=value
    flags: list[str]  # as typed, each with its value
    action: str | None  # the one of `ALONE` that was asked for, or "help" or "hydra_help"
    presets: Path | None  # the folder of --config-dir


def read_line(arguments: Sequence[str]) -> Line:
    """The words and flags of a command line, in any order. Raises Refused."""
    parser = get_args_parser()
    parser.exit_on_error = parser.allow_abbrev = False
    try:
        options, others = parser.parse_known_intermixed_args(list(arguments))
    except ArgumentError as error:
        raise Refused(str(error)) from error
    if others:
        known = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
        raise Refused(f"there is no flag {others[0]}; choose from {choice(others[0].partition('=')[0], known)}")
    foreign = next((name for name in FOREIGN if getattr(options, name) is not None), None)
    if foreign is not None:
        raise Refused(f"--{foreign.replace('_', '-')} is not for this command; --config-dir adds presets of your own")
    asked = [name for name in ("help", "hydra_help", *ALONE) if getattr(options, name)]
    if len(asked) > 1 and not {"help", "hydra_help"} & set(asked):
        raise Refused(f"--{asked[0]} and --{asked[1]} do not go together; leave one out")
    folder = None if options.config_dir is None else Path(options.config_dir)
    if folder is not None and not folder.is_dir():
        raise Refused(f"--config-dir {folder}: there is no such folder")
    flags = [argument for argument in arguments if argument not in options.overrides]
    return Line(options.overrides, flags, asked[0] if asked else None, folder)
