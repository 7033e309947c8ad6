"""Reports of evaluations, and descriptions of how runs are displayed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from marl_engine.types import Metrics, Profile


class Score(NamedTuple):
    """A number by which profiles are compared; more is better."""

    measure: str  # the metric; NashConv is counted negative
    label: str  # its name for people
    value: float
    error: float  # standard error; 0 if there is none


class Artefact(NamedTuple):
    """A text file that an evaluation writes into the run folder."""

    name: str
    verb: str  # what a user does with it; printed before its path, as in "read runs/a/samples.md"
    text: str | None  # None: there is no file; an older one is removed
    lines: Sequence[str] = ()  # printed on the screen


class Report(NamedTuple):
    """The result of an evaluation."""

    metrics: Metrics
    score: Score | None
    headline: tuple[str, str]  # the most important number, and its context
    artefacts: Sequence[Artefact] = ()  # only in a full report


class Panel(NamedTuple):
    """Curves that share an axis: labels by metric; the metrics named in `faint` are drawn in the background."""

    axis: str
    curves: Mapping[str, str]
    faint: Sequence[str] = ()
    logarithmic: bool = False  # if any value is above 0
    limits: tuple[float, float] | None = None


class View(NamedTuple):
    """How a run is displayed while it is running, and in its picture."""

    panels: Sequence[Panel]  # the first with a measured metric is drawn
    primary: Mapping[str, tuple[str, str]]  # label and format by metric; the first measured one is shown
    secondary: Mapping[str, str]  # formats of metrics that are shown beside it


class Evaluator(Protocol):
    """Evaluates profiles of a game."""

    view: View

    def evaluate(self, profile: Profile, *, iteration: int | None = None, full: bool = False) -> Report:
        """Returns the report of a profile.

        A full report, for the end of a run, also has artefacts and metrics that take longer to compute. Costly parts
        are computed once for each `iteration`. Raises Halted if a judge fails.
        """
        ...

    def compare(self, profiles: Sequence[Profile]) -> list[list[tuple[float, float]]]:
        """Returns the mean payoff over seats of each of N profiles against each other, with its standard error."""
        ...


def deviations(profile: Profile, other: Profile) -> list[Profile]:
    """Returns for each seat the other profile in which the policy of this seat is that of `profile`."""
    return [[*other[:seat], policy, *other[seat + 1 :]] for seat, policy in enumerate(profile)]


RETURNS = Panel(
    "return of an episode",
    {
        "return/mean": "while learning",
        "evaluation/return/mean": "evaluation",
        "evaluation/return/opponent/mean": "evaluation against its opponent",
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
