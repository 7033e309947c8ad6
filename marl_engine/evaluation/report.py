"""What an evaluation says, and how runs are shown that are evaluated so."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from marl_engine.types import Metrics, Profile


class Score(NamedTuple):
    """One number by which profiles are compared; more is better."""

    measure: str  # the metric that it is, of which NashConv is counted negative
    label: str  # what people call it
    value: float
    error: float  # standard error; 0: profiles are compared without regard to it


class Artefact(NamedTuple):
    """A text file that an evaluation leaves in the run folder."""

    name: str
    verb: str  # what to do with it, as the last lines of a run say it
    text: str | None  # None: there is nothing to write, and an older file of that name goes
    lines: Sequence[str] = ()  # what a screen shows of it


class Report(NamedTuple):
    """How good a profile is."""

    metrics: Metrics
    score: Score | None
    headline: tuple[str, str]  # the number that matters, and what it takes to read it
    artefacts: Sequence[Artefact] = ()  # of a full evaluation


class Panel(NamedTuple):
    """Curves that share an axis: labels by metric; the metrics named in `faint` are drawn in the background."""

    axis: str
    curves: Mapping[str, str]
    faint: Sequence[str] = ()
    logarithmic: bool = False  # where there is anything above 0 to show
    limits: tuple[float, float] | None = None


class View(NamedTuple):
    """How a run is shown while it goes on, and in its picture."""

    panels: Sequence[Panel]  # the first for which something was measured is drawn
    shown: Mapping[str, tuple[str, str]]  # label and format by metric; the first that was measured is shown
    beside: Mapping[str, str]  # formats by metric of what is shown beside it


class Evaluator(Protocol):
    """Says how good profiles are; chosen once for a game by what it can do."""

    view: View

    def evaluate(self, profile: Profile, *, iteration: int | None = None, full: bool = False) -> Report:
        """A report on a profile; a full one has everything that is worth knowing at the end of a run.

        What is costly is not repeated for the same `iteration`. Raises Halted where a judge cannot be asked.
        """
        ...

    def compare(self, profiles: Sequence[Profile]) -> list[list[tuple[float, float]]]:
        """What each of N profiles earns against each other one, as a mean over the seats, and its standard error."""
        ...


def lineups(row: Profile, column: Profile) -> list[Profile]:
    """The row's policy in one seat after the other, and the column's in the others."""
    return [[*column[:seat], row[seat], *column[seat + 1 :]] for seat in range(len(row))]


RETURNS = Panel(
    "return of an episode",
    {
        "return/mean": "while learning",
        "evaluation/return/mean": "evaluation",
        "evaluation/return/initial/mean": "evaluation against where it began",
        "value/0": "value to seat 0",
        "value/1": "value to seat 1",
    },
    faint=("return/mean",),
)
DISTANCES = Panel(
    "NashConv",
    {
        "nash_conv/last": "current strategy",
        "nash_conv/average": "average strategy",
        "nash_conv/mixture": "mixture of the population",
        "evaluation/nash_conv": "evaluation",
    },
    logarithmic=True,
)
WIN_RATES = Panel(
    "win rate",
    {
        "win_rate/opponent": "against its opponent, while learning",
        "evaluation/win_rate/reference": "against the reference, evaluation",
    },
    faint=("win_rate/opponent",),
    limits=(0.0, 1.0),
)
