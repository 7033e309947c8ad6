"""What can go wrong, and how it is said: one sentence that names the valid choices."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class Refused(ValueError):
    """The input asks for something that cannot be; the message says what could."""


class Notice(UserWarning):
    """Something that costs time or comfort and no result, said by `warnings.warn`; commands print it as it stands."""


class Halted(RuntimeError):
    """Something that a run depends on failed; what it has saved is whole."""


def describe(error: Exception) -> str:
    """What is wrong, in a sentence: of a disk, which file it was, too."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def excerpt(text: str, most: int = 200) -> str:
    """Somebody else's text in one line: signs that cannot be shown as their codes, a cut after `most` as "…"."""
    line = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in " ".join(text.split()))
    return line if len(line) <= most else f"{line[:most]}…"


def choice(name: object, options: Iterable[object]) -> str:
    """The options as text, those nearest to `name` first."""
    known = [str(option) for option in options]
    near = get_close_matches(str(name), known, n=3, cutoff=0.4)
    return ", ".join(near + sorted(option for option in known if option not in near))


def unknown(key: str, place: str, names: Sequence[str]) -> Refused:
    """There is no such key; `place` is that of its siblings, like "game."."""
    siblings = [f"{place}{name}" for name in names]
    known = f"choose from {choice(f'{place}{key}', siblings)}" if siblings else f"{place.rstrip('.')} has no keys"
    return Refused(f"there is no key {place}{key}; {known}")


class Diverged(Halted):
    """A loss was not a finite number; the policies are as they were before it."""
