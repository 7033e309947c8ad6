"""The start and end of a command: signals, refusals in one sentence, exit codes."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from marl_engine import __version__
from marl_engine.commands.command_line.cli_config import refusals
from marl_engine.commands.command_line.environment import prepare_imports, prepare_output
from marl_engine.configuration import validate_fields
from marl_engine.errors import Refused
from marl_engine.interruption import INTERRUPTION, Interrupted

FAILED = 1
Keys = TypeVar("Keys")


def run_command(command: Callable[[Sequence[str]], int]) -> NoReturn:
    """Ends the process with the exit code that a command returns for its arguments.

    The code is 2 if they are refused, 128 + the number of a signal, and 1 if the output cannot be written.
    """
    prepare_output()
    prepare_imports()
    flags = sys.argv[1 : [*sys.argv, "--"].index("--")]
    try:
        with INTERRUPTION.listen(), refusals():
            code = show_version() if "--version" in flags else command(sys.argv[1:])
    except Interrupted:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTION.code
    except BrokenPipeError:  # the reader closed the pipe, as in `marl-train --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    raise SystemExit(code)


def show_version() -> int:
    """Prints the version; returns the exit code."""
    print(f"marl_engine {__version__}")
    return 0


def show_help(words: Sequence[str], text: str, arguments: str) -> bool:
    """Prints a help text if a flag among words asks for it; returns whether it did.

    Raises Refused for other flags, with what the command takes as `arguments`.
    """
    flags = [word for word in words if word.startswith("-")]
    if {"-h", "--help"} & set(flags):
        print(text)
        return True
    if flags:
        raise Refused(f"there is no flag {flags[0]}; write {arguments}, or --help")
    return False


def read_keys(words: Sequence[str], kind: type[Keys]) -> Keys:
    """Returns the dataclass that words of the form key=value describe. Raises Refused."""
    try:
        return kind(**validate_fields(dict(word.split("=", 1) for word in words), kind, ""))
    except ValueError as error:
        raise Refused(str(error)) from error
