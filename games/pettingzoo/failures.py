"""What a run says of an exception in somebody's environment: its own traceback once, then one sentence."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marl_engine.errors import Halted, Refused, excerpt

HERE = str(Path(__file__).parent)


class EnvironmentFailed(Exception):
    """An environment raised an exception in a worker process; the message is its traceback."""


@contextmanager
def report_failures(name: str, kind: type[Exception]) -> Iterator[None]:
    """Prints the traceback of an exception of environment `name`, and raises `kind` with one sentence in its place.

    Refused and Halted are left as they are.
    """
    try:
        yield
    except (Refused, Halted):
        raise
    except Exception as error:
        text = (str(error) if isinstance(error, EnvironmentFailed) else own_traceback(error)).rstrip()
        print(text, file=sys.stderr)
        sentence = f"the environment {name} raised {excerpt(text.splitlines()[-1])}"
    else:
        return
    raise kind(sentence)


def own_traceback(error: Exception) -> str:
    """Returns the traceback of an exception, from the first line outside this package, and the import of modules, on.

    If it has no such line, it is returned as a whole.
    """
    trace = error.__traceback__
    while trace is not None and is_engine(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))


def is_engine(file: str) -> bool:
    """Whether a file of Python code belongs to this package, or imports modules or manages contexts for it."""
    return file.startswith((HERE, "<frozen importlib")) or file.endswith(("importlib/__init__.py", "/contextlib.py"))
