"""Capabilities of games, beyond being stepped: a protocol for each, and `capabilities_of`, which finds those of a game.

A game has a capability if it has all members of the protocol; it need not inherit from anything. Only this module
inspects games: all others read the record `Capabilities`, or call `lack_of`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from marl_engine.spaces import ActionSpace, Spaces
from marl_engine.types import Game, Metrics, Responder, Turn


class Drawable(Protocol):
    """A game that can draw itself."""

    def render(self, copy: int = 0, caption: str = "") -> Any:
        """Returns a picture (H, W, 3) uint8 of one copy."""


class NarratedGame(Game, Protocol):
    """A game that can be told in words."""

    def narrate(self, seed: int) -> Any:
        """Returns a `play.narration.Narration` of the first game of a copy with a seed; None if it has no words."""


class LevelGame(Game, Protocol):
    """A game whose copies have parameters of their own, their levels (B, …), such as a layout or a difficulty.

    Without levels all copies are as the game was made. The state of a game contains its levels.
    """

    def reset(self, seeds: Tensor, levels: Tensor | None = None) -> Turn:
        """Starts as many copies as there are seeds (B,), at levels (B, …)."""

    def restart(self, copies: Tensor, levels: Tensor) -> Turn:
        """Sets the levels (N, …) of copies (N,) int64 whose games have just opened; returns the turn of all copies.

        The turn shows the games at these levels; its rewards and endings are ignored.
        """


class NumberedGame(Game, Protocol):
    """A game whose observations (B, P, 1) are numbers of states or information sets."""

    features: Tensor  # (I, F) float32: the input of networks for each of them


class ExtensiveGame(NumberedGame, Protocol):
    """A game whose rules are known as arrays, so that it can be solved without play."""

    device: str
    form: Any  # extensive_form.SequenceForm
    legal: Any  # (I, A) bool array: the legal actions of each of the I information sets
    start: Any  # (S,) float64 array: the behavior strategy that tables begin with

    def information_sets(self) -> list[tuple[str, list[str]]]:
        """Returns the name of each information set, and the names of its legal actions."""


class MarkovRules(NamedTuple):
    """The rules of a game with S states, and J = A^P joint actions that are numbered with seat 0 as the highest digit.

    All numbers are float64.
    """

    opening: Tensor  # (S,) probabilities of first states
    transition: Tensor  # (S, J, S) probabilities of next states
    payoff: Tensor  # (S, J) of every seat
    discount: float  # gamma


class TeamMarkovGame(NumberedGame, Protocol):
    """A game in which all seats observe the number of the state, act at once, and are paid the same."""

    def markov_rules(self) -> MarkovRules:
        """Returns the rules as arrays. Raises Refused if these are too large."""


class TreeGame(ExtensiveGame, Protocol):
    """An extensive game whose tree is in memory."""

    tree: Any  # extensive_form.Tree


class TabulatedGame(ExtensiveGame, Protocol):
    """An extensive game that can play many turns at once with tables of logits."""

    def play_tabulated(self, logits: Tensor, seeds: Tensor, clock: int, turns: int) -> Any:
        """Returns exactly what `rollout.play` returns for policies with these logits.

        `logits` (I + P, A) float32 are those of all information sets, -inf for illegal actions, followed by those of
        each seat when others move. Actions are sampled by `Categorical.sample` with noise from `seeds` (B,).
        """


class DifferentiableGame(NumberedGame, Protocol):
    """A game with a differentiable payoff of behavior strategies."""

    def values(self, strategies: Sequence[Tensor]) -> Tensor:
        """Returns the payoffs (..., P) of strategies (..., I, A) float64, one for each seat."""


class BotGame(Game, Protocol):
    """A game that has bots, which see its state, to compare profiles with."""

    bots: tuple[str, ...]  # weakest first; played in every evaluation
    slow_bots: tuple[str, ...]  # played at the end of a run only
    win_or_lose: bool  # whether there are two players, with payoffs from -1 to 1, so that wins say it all

    def bot_actions(self, bot: str, noise: Tensor) -> Tensor:
        """Returns the actions (B, P) of a bot in the turn that is to be played, from uniform numbers (B, P)."""


class PreferenceGame(Protocol):
    """A symmetric game in which two seats answer a prompt; they earn the probability of being preferred, minus 1/2."""

    train_prompts: int  # number of training prompts, numbered from 0

    def prefers(self, numbers: Tensor, firsts: Sequence[Any], seconds: Sequence[Any]) -> Any:
        """Returns how often the first of two answers to each prompt (N,) is preferred, (N,) in [0, 1].

        Answers are texts, or numbers of actions in a matrix game. Raises Halted if there is no verdict.
        """


class MatrixPreferenceGame(PreferenceGame, Protocol):
    """A preference game with one prompt, whose answers are numbered actions."""

    players: int
    actions: int
    start: Any  # (S,) float64 array: 1 for each seat, and the strategies that policies begin with


class TextPreferenceGame(PreferenceGame, Protocol):
    """A preference game whose prompts are chats and whose answers are texts."""

    players: int
    chats: Sequence[Any]  # training prompts, then held-out ones, as `chats.Prompt`
    texts: list[str]  # the same as texts, for judges
    places: list[int]  # line or row of each prompt in its file, counted from 1


class MeteredGame(Protocol):
    """A game that counts what playing it has cost, such as queries of its judge, or lost workers."""

    def costs(self) -> Metrics:
        """Returns the costs since the game was created."""


class TrajectoryPreferenceGame(Protocol):
    """A game with one seat whose trajectories are compared.

    The last feature of an observation is the time, from -1 to 1.
    """

    horizon: int  # H: steps of every trajectory

    def summary(self, reward: Tensor, action: Tensor) -> Tensor:
        """Returns summaries (N, K) of trajectories with rewards (H, N) and actions (H, N, ...).

        These are compared.
        """

    def compare(self, one: Tensor, other: Tensor) -> Tensor:
        """Returns how often a trajectory with summary (..., K) is preferred to another (..., K)."""


class DescribedGame(Protocol):
    """A game that says how it is run, such as "in 2 worker processes"."""

    def describe(self) -> str: ...


class CriticSpec(Protocol):
    """A spec of policies that also makes critics."""

    def critic(self, game: Any, joint: bool) -> Any:
        """Returns a network with values (N, 1) for observations (N, ...).

        With `joint` it is given the observations of all seats, otherwise of one. Its `encode` prepares rows, as that of
        policies.
        """


class JudgedResponder(Protocol):
    """A responder that uses a judge."""

    def costs(self) -> Metrics:
        """Returns what the judge has cost in all sessions of a run."""

    def quote(self) -> str:
        """Returns a prompt and the learner's last answer to it; empty if there is none."""


class AlgorithmResponder(Responder, Protocol):
    """A responder that runs an algorithm of another library."""

    algorithm: str  # its name there


class PopulationSolver(Protocol):
    """A solver that grows a population."""

    matches: Any  # a `populations.MatchFile` that keeps what is played, given during a run; otherwise None

    def artefacts(self) -> Sequence[Any]:
        """Returns what is written about the population at the end of a run, as `evaluation.report.Artefact`s."""


LACKS: dict[Any, str] = {  # messages about objects without a capability
    Game: "is not a game that is stepped",
    Drawable: "does not draw itself",
    NarratedGame: "has no words for people",
    LevelGame: "has no levels",
    NumberedGame: "does not number its states",
    ExtensiveGame: "is not in extensive form",
    TeamMarkovGame: "is not a Markov game of a team",
    TreeGame: "has no game tree",
    TabulatedGame: "is not played by tables",
    DifferentiableGame: "is not differentiable",
    BotGame: "has no bots",
    PreferenceGame: "is not a preference game",
    MatrixPreferenceGame: "is not a preference game with numbered answers",
    TextPreferenceGame: "has no prompts in words",
    MeteredGame: "does not count what it costs",
    TrajectoryPreferenceGame: "does not compare trajectories",
    DescribedGame: "does not say how it is run",
    CriticSpec: "makes no critics",
    JudgedResponder: "asks no judge",
    AlgorithmResponder: "runs no algorithm of RLlib",
    PopulationSolver: "grows no population",
}


class Capabilities(NamedTuple):
    """The game as each of several protocols, None unless it has all members of it."""

    spaces: Spaces | None  # None: it is not stepped
    drawable: Drawable | None
    narrated: NarratedGame | None
    numbered: NumberedGame | None
    extensive: ExtensiveGame | None
    tree: TreeGame | None
    tabulated: TabulatedGame | None
    bots: BotGame | None
    text_preference: TextPreferenceGame | None
    metered: MeteredGame | None
    described: DescribedGame | None


def capabilities_of(game: Any) -> Capabilities:
    """Returns the capabilities of a game."""

    def narrow(protocol: type) -> Any:
        return None if missing_members(game, protocol) else game

    kinds = (Drawable, NarratedGame, NumberedGame, ExtensiveGame, TreeGame, TabulatedGame, BotGame)
    spaces = None if missing_members(game, Game) else spaces_of(game)
    return Capabilities(spaces, *map(narrow, (*kinds, TextPreferenceGame, MeteredGame, DescribedGame)))


def spaces_of(game: Game) -> Spaces:
    """Returns the `spaces` that a game declares, or spaces made of its `actions` and `observation_shape`."""
    declared: Spaces | None = getattr(game, "spaces", None)
    return Spaces(tuple(game.observation_shape), ActionSpace(game.actions)) if declared is None else declared


def groups_of(game: Game) -> tuple[int, ...]:
    """Returns the group of each seat (P,); seats of one group have equal spaces."""
    return spaces_of(game).groups or (0,) * game.players


def members_of(protocol: type) -> list[str]:
    """Returns the names of attributes and methods of a protocol, those of its bases first."""
    names: dict[str, None] = {}
    for base in reversed(protocol.__mro__):
        if vars(base).get("_is_protocol") and base is not Protocol:
            methods = [name for name, value in vars(base).items() if callable(value)]
            names |= dict.fromkeys(each for each in (*base.__annotations__, *methods) if each[0] != "_")
    return list(names)


def missing_members(game: Any, protocol: type) -> list[str]:
    """Returns the members of a protocol that a game does not have."""
    return [name for name in members_of(protocol) if not hasattr(game, name)]


def lack_of(game: Any, protocol: type, asker: str) -> str:
    """Returns a sentence if a game lacks a capability that `asker` needs, otherwise an empty text."""
    missing = missing_members(game, protocol)
    if not missing:
        return ""
    names = ", ".join(f"`{name}`" for name in missing)
    return f"{type(game).__name__} {LACKS[protocol]}: {asker} needs {names}"
