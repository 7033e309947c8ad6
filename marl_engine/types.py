"""The nouns of the engine on one screen, with their shapes.

B games side by side, P players (seats), A actions, T decisions, N rows of any origin.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from torch import Tensor, nn


class Turn(NamedTuple):
    """What the seats observe before they act, and what their last actions earned.

    When a game is done, its copy has already restarted: `observation` opens the next game, while `reward`, `done`,
    `truncated` and `final` belong to the game that ended.

    A seat that has left the game (`alive` is False) does not act in it again and earns nothing after the step in which
    it left: later rewards do not count, and its value is not bootstrapped. If a game is truncated, the value of each
    seat that was alive before the last step and would act next (`final_acting`) is bootstrapped. A seat that would wait
    has no such value, so the outcome of its last decision is unknown, and that decision is not learned from.
    """

    observation: Tensor  # (B, P, ...) in the game's own type, often bytes
    legal: Tensor  # (B, P, A) bool
    acting: Tensor  # (B, P) bool: whose move it is; all True when moves are simultaneous
    reward: Tensor  # (B, P) float32: payoff of the last step, in the game's own units
    shaping: Tensor  # (B, P) float32: auxiliary reward for learning, never part of a score
    done: Tensor  # (B,) bool
    truncated: Tensor  # (B,) bool: done because of a time limit, not by the rules of the game
    final: Tensor | None = None  # (B, P, ...) last observations of truncated games; None if there are none
    alive: Tensor | None = None  # (B, P) bool: seats still in the game, which alone can act; None: all
    final_acting: Tensor | None = None  # (B, P) bool: seats that would act at `final`; None: all

    def to(self, device: str) -> "Turn":
        """Returns the turn on a device."""
        return Turn._make(None if each is None else each.to(device) for each in self)


class Game(Protocol):
    """B independent copies stepped together, one seed each.

    These members are all that a game must have. Further capabilities are protocols in `capabilities`. A game with named
    or continuous actions also declares `spaces: Spaces`.
    """

    players: int
    actions: int  # A, or D where actions are numbers
    observation_shape: tuple[int, ...]
    symmetric: bool  # exchanging seats does not change the game

    def reset(self, seeds: Tensor) -> Turn:
        """Starts one copy for each seed (B,) int64; copy b depends only on seeds[b].

        If the first game of a copy ends before anyone has acted, the turn is done, with the rewards of that game.
        """

    def step(self, actions: Tensor) -> Turn:
        """Takes actions (B, P) int64, (B, P, K) int64 of K choices, or (B, P, D) float32.

        Those of seats that are not acting are ignored.
        """

    def state(self) -> dict[str, Tensor]:
        """Returns what `restore` needs, for a checkpoint."""

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        """Restores a saved state; returns the turn that was to be played."""


class LevelSource(Protocol):
    """Draws levels for games of a `capabilities.LevelGame` as they open. `STATE` names the fields of a checkpoint."""

    def draw(self, seeds: Tensor, number: int) -> Tensor:
        """Returns levels (N, …) for games that open at decision `number`, by seeds (N,) and what was reported."""

    def report(self, levels: Tensor, earned: Tensor) -> None:
        """Takes note of games that ended: levels (N, …), and payoffs (N, P). Called after each stretch of play."""


class Distribution(Protocol):
    """N independent distributions over actions."""

    @property
    def log_probs(self) -> Tensor | None:
        """Log-probabilities of all actions, (N, A); None if these are several choices, or continuous."""

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Returns actions (N,) and log-probabilities (N,) from uniform numbers (N,); equal noise, equal actions."""

    def mode(self) -> Tensor:
        """Returns the most probable actions (N,)."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns log-probabilities (N,) of actions (N,)."""

    def entropy(self) -> Tensor:
        """Returns entropies (N,), in nats."""

    def kl(self, other: Any) -> Tensor:
        """Returns KL(self || other), (N,), in nats."""


Memory: TypeAlias = "Tensor | tuple[Memory, ...] | Mapping[str, Memory] | None"
"""A tree of tensors (N, …), a row for each of N seats: what a policy remembers."""


class Policy(nn.Module):
    """A map from observations to distributions over actions: a network, a table, a language model, a mixture."""

    generates: bool = False  # whether it is a `LanguagePolicy`, whose action is a whole answer
    encodes_like_critic: bool = False  # whether its critic takes the same rows
    unit: str = "decision"  # of learning: single decisions, "sequence": stretches of play, "team": see `TeamPolicy`
    noise_shape: tuple[int, ...] = ()  # of `Distribution.sample`, for a row: (D,) in a box, (K,) of choices
    export_name: str = ""  # name of what `save(folder)` exports; empty: no `save`
    parts: tuple["Policy", ...] = ()  # policies that it consists of; its memory is the tuple of theirs
    components: "tuple[Any, Any, float] | None" = None  # of a geometric mixture of language policies, and the weight
    tabular: bool = False  # in a numbered game: a function of the number alone, so it can be tabulated
    noisy: "tuple[Policy, float] | None" = None  # to which policy it only adds noise, and how much

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Returns the rows (N, …) for `forward` of observations (N, …) made by seats (N,) int64.

        A decision is encoded once in play and once for learning, however often the policy learns from it.
        """
        return observation

    def observe(self, rows: Tensor) -> None:
        """Takes rows (N, …) into the statistics of observations, if there are any; called after learning from them."""

    def complete(self, numbers: Tensor, seeds: Tensor) -> Any:
        """Returns answers (`Completions`) to the prompts numbered (N,), sampled by seeds (N,).

        Raises ValueError if the policy is not a language policy.
        """
        raise ValueError(f"{type(self).__name__} generates no answers; use a language policy")

    def initial_memory(self, count: int) -> Memory:
        """Returns the memory of `count` seats when a game opens: a tree of tensors (count, …), or None."""
        return None

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Distribution, Memory]:
        """Returns N distributions and the new memory.

        Rows (N, …) come from `encode`; legal is (N, A) bool or None; memory (N, …). During play, memory is carried from
        turn to turn and from one stretch of play to the next. It does not change while a seat is not acting, and is
        `initial_memory` when a game opens.
        """
        raise NotImplementedError

    def remember(self, memory: Memory, distribution: Any, action: Tensor) -> Memory:
        """The memory (N, …) after actions (N,) were chosen from the distribution that `forward` returned with it."""
        return memory

    def unroll(
        self, rows: Tensor, legal: Tensor | None, memory: Memory, opens: Tensor, acting: Tensor
    ) -> tuple[Distribution, Memory]:
        """Returns the distributions that `forward` gives turn by turn. Policies that remember define it.

        Rows are (T, N, …), legal (T, N, A) bool or None, memory (N, …) that before the first turn; opens and acting (T,
        N) bool mark the turns in which a game opens and a seat acts. The distributions are those of the M decisions in
        which `acting` is True. Returns also the memory (N, …) after the last turn.
        """
        return self(rows[acting], None if legal is None else legal[acting])[0], memory


Profile = list[Policy]
"""A policy for each seat, P of them; one policy may sit in several."""

Metrics = dict[str, float]

Work = Counter[str]
"""What was spent, by unit: steps of games, queries of preferences or payoffs, gradients, nodes of a game tree."""

UNITS = ("steps", "queries", "gradients", "nodes")


def main_unit(counts: Mapping[str, float]) -> str:
    """Returns the unit of limits, schedules and displays.

    It is the first of `UNITS` that is counted, otherwise `iteration`.
    """
    return next((unit for unit in UNITS if unit in counts), "iteration")


class Opponents(NamedTuple):
    """Profiles that a learner may meet, with weights that sum to 1.

    Each copy of a game draws a member when a game opens, and keeps it until the game is done. The learner plays its own
    seat.
    """

    members: Sequence[Profile]
    weights: Sequence[float] = (1.0,)


class Payoff(NamedTuple):
    """A payoff that replaces the game's: for sampled play, and exactly if the game's sequence form is known."""

    on_trajectory: Callable[[Any], Tensor]  # rewards (T, B, P) of a `rollout.Trajectory`
    on_form: Callable[[Any], Any] | None = None  # the `extensive_form.SequenceForm` with these payoffs


class Objective(NamedTuple):
    """The objective of a learner pi: payoff - magnet_weight * KL(pi || magnet) - KL(pi || anchor) / step_size."""

    anchor: Profile | None = None
    step_size: float = inf
    magnet: Profile | None = None
    magnet_weight: float = 0.0
    payoff: Payoff | None = None  # None: the game's own rewards


UNREGULARISED = Objective()


class Step(NamedTuple):
    """The result of a responder: metrics, the work done, and the data that was learned from, if there is any."""

    metrics: Metrics
    work: Work
    batch: Any = None


class Progress(NamedTuple):
    """The result of an iteration of a solver: the profile, its metrics, and the work done."""

    iteration: int
    profile: Profile
    metrics: Metrics
    work: Work = Work()


class Responder(Protocol):
    """Moves a profile by one regularised step. The only interface between solvers and kinds of policies.

    `STATE` names the fields that a checkpoint stores besides the profile; see `numerics.state`.
    """

    game: Any  # the game of the profiles that it moves
    seed: int
    device: str
    form: Any  # the game's sequence form, to measure NashConv; None: not measured
    work: Work  # of all steps so far
    supports: frozenset[str]  # of "opponents", "mixtures" (of them), "anchor", "magnet", "payoff", "trajectories"
    divergence: str  # how its KL terms are summed in a game tree: one of `extensive_form.regularised.GAPS`

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """Moves every policy of `profile`, in place, towards the maximum of the objective.

        The other seats are played by the opponents, or if there are none by the profile itself. Raises ValueError for
        terms that are not in `supports`.
        """

    def snapshot(self, profile: Profile) -> Any:
        """Returns copies of policies and optimisers, for `rollback` after a look-ahead."""

    def rollback(self, profile: Profile, snapshot: Any) -> None:
        """Restores the policies and optimisers of a snapshot. Work, games and critics are not affected."""

    def prepare(self, profile: Profile) -> None:
        """Creates what learning of these policies needs, such as optimisers, and drops what is of other policies.

        Called before its state is saved or restored.
        """


Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Runner(Protocol):
    """Runs pure jobs, which carry their seed. Every runner gives the same results, which are not to be changed.

    `complete` yields each result with the number of its argument, as the jobs end; `map` returns all in order.
    """

    def map(self, job: Callable[[Argument], Result], arguments: Iterable[Argument]) -> list[Result]: ...
    def complete(
        self, job: Callable[[Argument], Result], arguments: Iterable[Argument]
    ) -> Iterator[tuple[int, Result]]: ...


class Solver(Protocol):
    """Decides who plays whom. The caller logs, evaluates, saves and stops.

    `STATE` names the fields that a checkpoint stores besides the profile and the responder; see `numerics.state`.
    """

    def solve(self, profile: Profile, responder: Responder, runner: Runner, after: int = 0) -> Iterator[Progress]:
        """Yields progress without end, from iteration `after` + 1 on.

        Raises ValueError when called, not when first iterated, if profile and responder do not suit the solver.
        """
