"""Exceptions, and helpers for error messages: one sentence that names the valid choices."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class Refused(ValueError):
    """The input is invalid; the message names valid choices."""


class Notice(UserWarning):
    """A warning that does not affect results, raised by `warnings.warn`; commands print it as a sentence."""


class Halted(RuntimeError):
    """A resource that a run depends on failed. What has been saved is valid."""


def describe(error: Exception) -> str:
    """Returns the message of an exception; for a disk error with the name of the file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def excerpt(text: str, most: int = 200) -> str:
    """Returns foreign text on one line, with unprintable characters escaped, cut after `most` characters."""
    line = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in " ".join(text.split()))
    return line if len(line) <= most else f"{line[:most]}…"


def choice(name: object, options: Iterable[object]) -> str:
    """Returns the options as text, those most similar to `name` first."""
    names = [str(option) for option in options]
    near = get_close_matches(str(name), names, n=3, cutoff=0.4)
    return ", ".join(near + sorted(option for option in names if option not in near))


def unknown(key: str, place: str, names: Sequence[str]) -> Refused:
    """Returns the error for an unknown key; `place` is the prefix of its siblings, such as "game."."""
    siblings = [f"{place}{name}" for name in names]
    advice = f"choose from {choice(f'{place}{key}', siblings)}" if siblings else f"{place.rstrip('.')} has no keys"
    return Refused(f"there is no key {place}{key}; {advice}")


class Diverged(Halted):
    """A loss is not finite. The policies are unchanged."""
