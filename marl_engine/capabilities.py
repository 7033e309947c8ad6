"""What a game can do besides being stepped: each capability is a protocol, and `capabilities_of` finds those of a game.

A game has a capability if it has all members of the protocol; classes of users need not be derived from anything. It is
asked here and nowhere else: whoever needs a capability reads the record.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from marl_engine.types import Game, Metrics, Turn


class ActionSpace(NamedTuple):
    """What a seat chooses in a turn: one of `size` actions, numbered from 0, or `size` numbers within bounds."""

    size: int  # A, or D
    low: Tensor | None = None  # (D,) float32, -inf where there is no bound; None: actions are numbered
    high: Tensor | None = None  # (D,) float32, inf where there is no bound
    names: tuple[str, ...] = ()  # of the A actions or D numbers; (): they have none

    @property
    def is_box(self) -> bool:
        """Whether actions are (B, P, D) float32, not (B, P) int64."""
        return self.low is not None


class Spaces(NamedTuple):
    """What every seat observes and does; those of unequal seats are padded to the same shapes."""

    observation_shape: tuple[int, ...]
    action: ActionSpace
    observation_dtype: Any = None  # a torch.dtype; None: not declared


class Drawable(Protocol):
    """A game that draws itself."""

    def render(self, copy: int = 0, caption: str = "") -> Any:
        """A picture (H, W, 3) uint8 of one copy."""


class LevelGame(Game, Protocol):
    """A game whose copies have parameters of their own, their levels (B, …), such as a layout or a difficulty.

    Without levels all copies are as the game was made. The state of a game contains its levels.
    """

    def reset(self, seeds: Tensor, levels: Tensor | None = None) -> Turn:
        """Starts as many copies as there are seeds (B,), at levels (B, …)."""
        ...

    def restart(self, copies: Tensor, levels: Tensor) -> Turn:
        """Sets the levels (N, …) of copies (N,) int64 whose games have just opened; returns the turn of all copies.

        In it their games open at these levels. What it says of rewards and ends does not count.
        """
        ...


class NumberedGame(Game, Protocol):
    """A game whose observations (B, P, 1) are numbers of its states or information sets."""

    features: Tensor  # (I, F) float32: what each of them looks like to a network


class ExtensiveGame(NumberedGame, Protocol):
    """A game whose rules are known as arrays: solved without being played."""

    device: str
    form: Any  # extensive_form.SequenceForm
    legal: Any  # (I, A) bool array: the legal actions of each of the I information sets
    start: Any  # (S,) float64 array: the behavior strategy that tables begin with

    def information_sets(self) -> list[tuple[str, list[str]]]:
        """The name of each information set, and the names of its legal actions."""
        ...


class TreeGame(ExtensiveGame, Protocol):
    """An extensive game that has its tree in memory too."""

    tree: Any  # extensive_form.Tree


class TabulatedGame(ExtensiveGame, Protocol):
    """An extensive game that plays on by itself, turn after turn, where policies are tables."""

    def play_tabulated(self, logits: Tensor, seeds: Tensor, clock: int, turns: int) -> Any:
        """Plays as `rollout.play` does by asking policies, and returns what it returns, to the bit.

        `logits` (I + P, A) float32 are those of all information sets, -inf for illegal actions, and after them those of
        each seat while others move. Actions are what `Categorical.sample` makes of them and of noise from `seeds` (B,).
        """
        ...


class DifferentiableGame(NumberedGame, Protocol):
    """A game that knows what behavior strategies earn, with a gradient."""

    def values(self, strategies: Sequence[Tensor]) -> Tensor:
        """What seats with strategies (..., I, A) float64 earn, (..., P)."""
        ...


class PreferenceGame(Protocol):
    """A symmetric game of two seats, who answer a prompt and earn what they are preferred above one half."""

    train_prompts: int  # prompts that are learned from, numbered from 0

    def prefers(self, numbers: Tensor, firsts: Sequence[Any], seconds: Sequence[Any]) -> Any:
        """How often the first of two answers to prompts (N,) is preferred to the second, (N,) in [0, 1].

        Answers are texts, and in a matrix game numbers of actions. Raises Halted where nobody can say.
        """
        ...


class MatrixPreferenceGame(PreferenceGame, Protocol):
    """A preference game with one prompt, whose answers are the numbers of its actions."""

    players: int
    actions: int
    start: Any  # (S,) float64 array: 1 for each seat, and the strategies that policies begin with


class TextPreferenceGame(PreferenceGame, Protocol):
    """A preference game whose prompts are chats and whose answers are texts."""

    players: int
    chats: Sequence[Any]  # those that are learned from, and after them those held out, as `chats.Prompt`
    texts: list[str]  # the same as a judge reads them
    places: list[int]  # of each text where it comes from, counted from 1


class MeteredGame(Protocol):
    """A game that counts what its judge costs."""

    def costs(self) -> Metrics:
        """What the judge has cost since the game was made."""
        ...


class TrajectoryPreferenceGame(Protocol):
    """A game of one seat whose trajectories are compared; what it shows ends with the time, from -1 to 1."""

    horizon: int  # H: steps of every trajectory

    def summary(self, reward: Tensor, action: Tensor) -> Tensor:
        """What is compared (N, K) of trajectories with rewards (H, N) and actions (H, N, ...)."""
        ...

    def preferred(self, one: Tensor, other: Tensor) -> Tensor:
        """How often a trajectory (..., K) is preferred to another (..., K)."""
        ...


class CriticSpec(Protocol):
    """A maker of policies that makes critics for them too."""

    def critic(self, game: Any, joint: bool) -> Any:
        """A network whose `encode` and call give values (N, 1) of observations (N, ...) of one seat, or of all."""
        ...


class JudgedResponder(Protocol):
    """A responder that asks a judge."""

    def costs(self) -> Metrics:
        """What the judge has cost in all sessions of a run."""
        ...

    def quote(self) -> str:
        """A prompt and what the learner answered to it last; empty where there is nothing to quote."""
        ...


LACKS: dict[Any, str] = {  # what is said of an object without a capability
    Game: "is not a game that is stepped",
    Drawable: "does not draw itself",
    LevelGame: "has no levels",
    NumberedGame: "does not number its states",
    ExtensiveGame: "is not in extensive form",
    TreeGame: "has no game tree",
    TabulatedGame: "is not played by tables",
    DifferentiableGame: "is not differentiable",
    PreferenceGame: "is not a preference game",
    MatrixPreferenceGame: "is not a preference game with numbered answers",
    TextPreferenceGame: "has no prompts in words",
    MeteredGame: "does not count what its judge costs",
    TrajectoryPreferenceGame: "does not compare trajectories",
    CriticSpec: "makes no critics",
    JudgedResponder: "asks no judge",
}


class Capabilities(NamedTuple):
    """The game as each of the protocols that it fulfils; None for the others."""

    spaces: Spaces | None  # None: it is not stepped
    drawable: Drawable | None
    levelled: LevelGame | None
    numbered: NumberedGame | None
    extensive: ExtensiveGame | None
    tree: TreeGame | None
    tabulated: TabulatedGame | None
    differentiable: DifferentiableGame | None
    preference: PreferenceGame | None
    text_preference: TextPreferenceGame | None
    metered: MeteredGame | None
    trajectory_preference: TrajectoryPreferenceGame | None


def capabilities_of(game: Any) -> Capabilities:
    """What a game can do."""

    def narrow(protocol: type) -> Any:
        return None if missing_members(game, protocol) else game

    kinds = (Drawable, LevelGame, NumberedGame, ExtensiveGame, TreeGame, TabulatedGame, DifferentiableGame)
    preferences = (PreferenceGame, TextPreferenceGame, MeteredGame, TrajectoryPreferenceGame)
    return Capabilities(spaces_of(game), *map(narrow, (*kinds, *preferences)))


def spaces_of(game: Any) -> Spaces | None:
    """The `spaces` that a game declares, or what `actions` and `observation_shape` say; None if it is not stepped."""
    declared: Spaces | None = getattr(game, "spaces", None)
    if declared is not None or missing_members(game, Game):
        return declared
    return Spaces(tuple(game.observation_shape), ActionSpace(game.actions))


def members_of(protocol: type) -> list[str]:
    """The attributes and methods that a protocol asks for, those of its bases first."""
    names: dict[str, None] = {}
    for base in reversed(protocol.__mro__):
        if base in LACKS:
            methods = [name for name, value in vars(base).items() if callable(value)]
            names |= dict.fromkeys(each for each in (*base.__annotations__, *methods) if each[0] != "_")
    return list(names)


def missing_members(game: Any, protocol: type) -> list[str]:
    """The members of a protocol that a game does not have."""
    return [name for name in members_of(protocol) if not hasattr(game, name)]


def lack_of(game: Any, protocol: type, asker: str) -> str:
    """A sentence for a game without a capability that `asker` needs; empty if it has it."""
    missing = missing_members(game, protocol)
    if not missing:
        return ""
    names = ", ".join(f"`{name}`" for name in missing)
    return f"{type(game).__name__} {LACKS[protocol]}: {asker} needs {names}"
