"""The command line: key=value words, and the flags that Hydra knows."""

from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hydra._internal.utils import get_args_parser

from marl_engine.errors import Refused, choice

ACTIONS = ("multirun", "cfg", "info", "shell_completion", "run")  # flags that choose an action; at most one

UNSUPPORTED = ("config_path", "config_name", "experimental_rerun")  # flags of Hydra that this command does not support


class CommandLine(NamedTuple):
    """The parsed command line."""

    words: list[str]  # key=value
    flags: list[str]  # as given, each with its value
    action: str | None  # one of `ACTIONS`, "help" or "hydra_help"
    presets: Path | None  # the folder of --config-dir


def read_line(arguments: Sequence[str]) -> CommandLine:
    """Parses words and flags in any order. Raises Refused."""
    parser = get_args_parser()
    parser.exit_on_error = parser.allow_abbrev = False
    try:
        options, unknown = parser.parse_known_intermixed_args(list(arguments))
    except ArgumentError as error:
        raise Refused(str(error)) from error
    if unknown:
        flags_known = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
        raise Refused(f"there is no flag {unknown[0]}; choose from {choice(unknown[0].partition('=')[0], flags_known)}")
    unsupported = next((name for name in UNSUPPORTED if getattr(options, name) is not None), None)
    if unsupported is not None:
        raise Refused(
            f"--{unsupported.replace('_', '-')} is not for this command; --config-dir adds presets of your own"
        )
    actions = [name for name in ("help", "hydra_help", *ACTIONS) if getattr(options, name)]
    if len(actions) > 1 and not {"help", "hydra_help"} & set(actions):
        raise Refused(f"--{actions[0]} and --{actions[1]} do not go together; leave one out")
    folder = None if options.config_dir is None else Path(options.config_dir)
    if folder is not None and not folder.is_dir():
        raise Refused(f"--config-dir {folder}: there is no such folder")
    flags = [argument for argument in arguments if argument not in options.overrides]
    return CommandLine(options.overrides, flags, actions[0] if actions else None, folder)
