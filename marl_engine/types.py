"""The nouns of the engine on one screen, with their shapes.

B games side by side, P players (seats), A actions, T decisions, N rows of any origin.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from torch import Tensor, nn


class Turn(NamedTuple):
    """What the seats see before they act, and what their last actions earned.

    A game that is done has already started anew: `observation` opens the next one, while `reward`,
    `done`, `truncated` and `final` belong to the one that ended.

    A seat that has left the game (`alive` is False) never acts in it again and earns nothing after the step in which
    it left: rewards that a game pays it later do not count, and no value is bootstrapped for it. Where a game is
    truncated, those count as in the game who were in it before its last step.
    """

    observation: Tensor  # (B, P, ...) in the game's own type, often bytes
    legal: Tensor  # (B, P, A) bool
    acting: Tensor  # (B, P) bool: whose move it is; all True when moves are simultaneous
    reward: Tensor  # (B, P) float32: payoff of the last step, in the game's own units
    shaping: Tensor  # (B, P) float32: hints for the learner, never part of a score
    done: Tensor  # (B,) bool
    truncated: Tensor  # (B,) bool: done because somebody stopped the clock, not by the rules of the game
    final: Tensor | None = None  # (B, P, ...) what games that were truncated closed with; None where none were
    alive: Tensor | None = None  # (B, P) bool: who is still in the game; None where everybody is. Only they can act

    def to(self, device: str) -> "Turn":
        """The same on a device."""
        return Turn._make(None if each is None else each.to(device) for each in self)


class Game(Protocol):
    """B independent copies stepped together, one seed each.

    This is all that a game must have. One that can do more has the members of one of the protocols below; one with
    named actions or actions that are numbers declares `spaces: Spaces` too. See `capabilities`.
    """

    players: int
    actions: int  # A, or D where actions are numbers
    observation_shape: tuple[int, ...]
    symmetric: bool  # the seats may be exchanged without changing the game

    def reset(self, seeds: Tensor) -> Turn:
        """Starts as many copies as there are seeds (B,) int64; copy b depends on seeds[b] alone.

        A copy whose first game ends before anybody has acted is done, with what that game paid, as in any turn.
        """
        ...

    def step(self, actions: Tensor) -> Turn:
        """Plays actions (B, P) int64 or (B, P, D) float32; those of seats that are not acting are ignored."""

    def state(self) -> dict[str, Tensor]:
        """Everything that `restore` needs to go on, for a checkpoint."""

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        """Goes back to a saved state; returns the turn that was to be played there."""


class LevelSource(Protocol):
    """Which levels games are played at: those of a `capabilities.LevelGame`.

    A level is drawn when a game opens. `STATE` names the fields that a checkpoint keeps; see `numerics.state`.
    """

    def draw(self, seeds: Tensor, number: int) -> Tensor:
        """Levels (N, …) of games that open at decision `number` in copies with seeds (N,).

        A function of these and of what was reported.
        """

    def report(self, levels: Tensor, earned: Tensor) -> None:
        """Takes note of games that ended: levels (N, …), and payoffs (N, P). Called after each stretch of play."""


class Distribution(Protocol):
    """N independent distributions over actions."""

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (N,) and their log-probabilities (N,), from uniform numbers (N,): same noise, same action."""

    def mode(self) -> Tensor:
        """The most probable actions (N,)."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probabilities (N,) of actions (N,)."""

    def entropy(self) -> Tensor:
        """Entropies (N,), in nats."""

    def kl(self, other: Any) -> Tensor:
        """KL(self || other), (N,), in nats."""


Memory: TypeAlias = "Tensor | tuple[Memory, ...] | Mapping[str, Memory] | None"
"""A tree of tensors (N, …), a row for each of N seats: what a policy remembers."""


class Policy(nn.Module):
    """Observation -> distribution over actions: a network, a table, a language model, a mixture."""

    generates: bool = False  # whether it is a `LanguagePolicy`, whose action is a text written token by token
    encodes_like_critic: bool = False  # whether `encode` gives the rows that the critic of its maker takes
    unit: str = "decision"  # what learning may shuffle: single decisions, or "sequence": stretches of play
    noise_shape: tuple[int, ...] = ()  # of the uniform numbers that `Distribution.sample` takes for a row; (D,): a box
    export_name: str = ""  # of what `save(folder)` writes for other libraries; empty: there is no `save`
    tabular: bool = False  # in a numbered game it goes by the number alone, without memory: it can be made a table of

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Observations (N, …) made by seats (N,) int64 as the rows (N, …) that `forward` takes.

        Done once for a decision, however often the policy learns from it.
        """
        return observation

    def complete(self, numbers: Tensor, seeds: Tensor) -> Any:
        """Answers (`Completions`) to the prompts numbered (N,), drawn by seeds (N,).

        Raises ValueError for a policy that writes none.
        """
        raise ValueError(f"{type(self).__name__} writes no answers; a language policy does")

    def initial_memory(self, count: int) -> Memory:
        """What `count` seats remember when their games open: a tree of tensors (count, …); None without memory."""
        return None

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Distribution, Memory]:
        """Rows (N, …) from `encode`, legal (N, A) bool or None, memory (N, …) -> N distributions, and the new memory.

        Play carries memory from turn to turn, and from one stretch of play to the next. It stays as it is while a seat
        does not act, and is `initial_memory` again when a game opens.
        """
        raise NotImplementedError

    def remember(self, memory: Memory, distribution: Any, action: Tensor) -> Memory:
        """The memory (N, …) after actions (N,) were chosen from the distribution that `forward` returned with it."""
        return memory

    def unroll(self, rows: Tensor, legal: Tensor | None, memory: Memory, opens: Tensor, acting: Tensor) -> Distribution:
        """The distributions that `forward` gives turn by turn, for policies whose `unit` is "sequence".

        Rows (T, N, …), legal (T, N, A) bool or None, memory (N, …) at the first turn; opens and acting (T, N) bool say
        where a game opens and where a seat acts. Returns the distributions of the M decisions where `acting` is True.
        """
        raise NotImplementedError


Profile = list[Policy]
"""A policy for each seat, P of them; one policy may sit in several."""

Metrics = dict[str, float]

Work = Counter[str]
"""What was spent, by unit: steps of games, queries of preferences or payoffs, gradients, nodes of a game tree."""

UNITS = ("steps", "queries", "gradients", "nodes")


def main_unit(counts: Mapping[str, float]) -> str:
    """The unit that limits, schedules and displays go by: the first of `UNITS` that is counted, else `iteration`."""
    return next((unit for unit in UNITS if unit in counts), "iteration")


class Opponents(NamedTuple):
    """Profiles that a learner may meet, with weights that sum to 1.

    Every copy of a game draws one when its game opens and keeps it until the game is done. The learner takes its own
    seat in it.
    """

    members: Sequence[Profile]
    weights: Sequence[float] = (1.0,)


class Payoff(NamedTuple):
    """What a learner earns in place of the game's payoff: by play, and exactly where the game's form is known."""

    on_trajectory: Callable[[Any], Tensor]  # rewards (T, B, P) of a `rollout.Trajectory`
    on_form: Callable[[Any], Any] | None = None  # the `extensive_form.SequenceForm` with these payoffs


class Objective(NamedTuple):
    """What a learner pi maximises: payoff - magnet_weight * KL(pi || magnet) - KL(pi || anchor) / step_size."""

    anchor: Profile | None = None
    step_size: float = inf
    magnet: Profile | None = None
    magnet_weight: float = 0.0
    payoff: Payoff | None = None  # None: the game's own rewards


UNREGULARISED = Objective()


class Step(NamedTuple):
    """What a responder returns: measurements, what the step cost, and the data that it learned from, if it has any."""

    metrics: Metrics
    work: Work
    batch: Any = None


class Progress(NamedTuple):
    """What a solver yields: the profile after an iteration, what was measured, and what the iteration cost."""

    iteration: int
    profile: Profile
    metrics: Metrics
    work: Work = Work()


class Responder(Protocol):
    """Moves a profile one regularised step: the only seam between tables, networks and language."""

    game: Any  # whose profiles it moves
    seed: int
    device: str
    form: Any  # of the game, by which solvers measure distances from equilibrium; None: they do not
    work: Work  # spent in all steps so far
    supports: frozenset[str]  # what it can be asked for, of "opponents", "anchor", "magnet" and "payoff"

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """Moves every policy of `profile`, in place, towards the maximum of the objective.

        The other seats are played by the opponents, or without any by the profile itself. Raises ValueError if it is
        asked for something that it does not support.
        """
        ...

    def snapshot(self, profile: Profile) -> Any:
        """Policies and optimisers, to `rollback` to after a look-ahead; work, games and critics go on."""

    def rollback(self, profile: Profile, snapshot: Any) -> None:
        """Puts policies and optimisers back to what they were at a snapshot."""

    def state(self, profile: Profile) -> dict[str, Any]:
        """Everything but the policies that a checkpoint needs for going on as if nothing had happened."""

    def restore(self, profile: Profile, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint, with the policies that were saved beside it."""


Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Runner(Protocol):
    """Runs pure jobs that carry their seed; every runner returns the same results in the same order."""

    def map(self, job: Callable[[Argument], Result], arguments: Iterable[Argument]) -> list[Result]: ...


class Solver(Protocol):
    """Who plays whom. The caller logs, evaluates, saves and stops.

    `STATE` names the fields that a checkpoint keeps besides the profile and the responder; see `numerics.state`.
    """

    def solve(self, profile: Profile, responder: Responder, runner: Runner, after: int = 0) -> Iterator[Progress]:
        """Yields progress for ever, from iteration `after` + 1 on.

        Raises ValueError, when called and not when first asked for progress, if these do not go together.
        """
        ...
