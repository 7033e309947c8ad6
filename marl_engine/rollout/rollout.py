"""Plays profiles: stretches of play to learn from, and whole games to score."""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from marl_engine.errors import Halted
from marl_engine.numerics.distributions.choice import choose
from marl_engine.numerics.rng import draw_uniforms
from marl_engine.numerics.trees import choose_rows, map_tree, spread_rows
from marl_engine.policies.team import decide_team
from marl_engine.rollout.levels import CopyLevels
from marl_engine.rollout.seat_memory import SeatMemory, recall, split_seats
from marl_engine.rollout.tabulation import tabulate_logits, tabulated_game
from marl_engine.rollout.turn_checks import LOOK_AT, check_earned, check_stretch, check_turn, stack_finals, stack_masks
from marl_engine.types import Game, Memory, Policy, Profile, Turn

LONGEST = 50_000  # turns of a game that is scored
NOISE_BLOCK = 64  # turns whose noise is drawn together


class Trajectory(NamedTuple):
    """T decisions of B games with P seats. Row t has the observation, action and reward of decision t."""

    observation: Tensor  # (T, B, P, ...)
    legal: Tensor | None  # (T, B, P, A) bool; None: all actions are legal
    acting: Tensor  # (T, B, P) bool
    action: Tensor  # (T, B, P) int64, or (T, B, P, K) of choices, or (T, B, P, D) of numbers
    log_prob: Tensor  # (T, B, P) of the action, when it was taken
    reward: Tensor  # (T, B, P)
    shaping: Tensor  # (T, B, P)
    done: Tensor  # (T, B) bool
    truncated: Tensor  # (T, B) bool
    final: Tensor | None = None  # (T, B, P, ...) last observations of truncated games
    alive: Tensor | None = None  # (T, B, P) bool; None: all seats are alive
    memory: tuple[Memory, ...] = ()  # (P,) the first layer of `SeatMemory` at the first decision, trees of (B, …)
    level: Tensor | None = None  # (T, B, …) the level that each game was played at; None: as the game was made
    final_acting: Tensor | None = None  # (T, B, P) bool: seats that would act at `final`; None: all
    draws: Memory = None  # what a team drew besides its actions, a tree of (T, B, …); see `TeamDecision`

    @property
    def opens(self) -> Tensor:
        """The turns after the first one in which a game opens, (T, B) bool."""
        return torch.cat([torch.zeros_like(self.done[:1]), self.done[:-1]])


def group_by_policy(profile: Profile) -> list[tuple[Policy, list[int]]]:
    """Returns the different policies of a profile, each with its seats."""
    seats: dict[Policy, list[int]] = {}
    for seat, policy in enumerate(profile):
        seats.setdefault(policy, []).append(seat)
    return list(seats.items())


def select_seats(each: Tensor, seats: Sequence[int], players: int) -> Tensor:
    """Returns the rows (N, …) of some seats, game by game, from (B, P, …)."""
    if len(seats) == 1:  # a strided copy takes a sixth of the time of indexing by a list
        return each[:, seats[0]].contiguous()
    return (each if len(seats) == players else each[:, seats]).flatten(0, 1)


class Seating:
    """The policies in the seats of B games, and their memory from turn to turn.

    `memory` is that of the seats, as returned by `seat_memory`. A policy whose memory has another layout starts with
    its initial memory.
    """

    def __init__(self, profile: Profile, games: int, device: torch.device, memory: SeatMemory = ()):
        self.profile, self.groups = profile, group_by_policy(profile)
        self.players, self.games = len(profile), games
        self.seat = [torch.tensor(seats, device=device).repeat(games) for _, seats in self.groups]
        self.initial = [policy.initial_memory(games * len(seats)) for policy, seats in self.groups]
        self.draws: Memory = None  # of a team in its last decision; see `TeamDecision`
        self.memory = list(self.initial)
        if memory:
            self.memory = [
                recall(initial, memory, seats) for initial, (_, seats) in zip(self.initial, self.groups, strict=True)
            ]

    def decide(self, turn: Turn, noise: Tensor, greedy: bool = False) -> tuple[Tensor, Tensor]:
        """Returns actions (B, P, …) and log-probabilities (B, P), from noise in [0, 1) of the shape of actions."""
        legal = None if turn.legal.all() else turn.legal
        decided = [self._decide_group(party, turn, legal, noise, greedy) for party in range(len(self.groups))]
        if len(decided) == 1:
            return decided[0]
        first = decided[0][0]
        action = torch.empty(self.games, self.players, *first.shape[2:], dtype=first.dtype, device=noise.device)
        log_prob = torch.empty(self.games, self.players, device=noise.device)
        for (_, seats), (actions, log_probs) in zip(self.groups, decided, strict=True):
            action[:, seats], log_prob[:, seats] = actions, log_probs
        return action, log_prob

    def seat_memory(self, turn: Turn) -> SeatMemory:
        """Returns the memory of the seats before a turn."""
        memory: list[Memory] = [None] * self.players
        for group, (_, seats) in enumerate(self.groups):
            for place, tree in zip(seats, split_seats(self._memory_at(group, turn.done), len(seats)), strict=True):
                memory[place] = tree
        return (tuple(memory),)

    def _decide_group(
        self, group: int, turn: Turn, legal: Tensor | None, noise: Tensor, greedy: bool
    ) -> tuple[Tensor, Tensor]:
        """Returns actions (B, seats) and log-probabilities of one policy.

        A policy without memory is only asked where seats act, if any do and they observe more than a number; elsewhere
        the results are 0.
        """
        policy, seats = self.groups[group]
        if policy.unit == "team" and len(seats) == self.players:
            action, log_prob, self.draws = decide_team(policy, turn, self.seat[group], legal, noise, greedy)
            return action, log_prob
        memory, acting = self._memory_at(group, turn.done), select_seats(turn.acting, seats, self.players)
        single = turn.observation.numel() == turn.acting.numel()
        everywhere = memory is not None or single or bool(acting.all()) or not acting.any()
        asked = slice(None) if everywhere else acting
        observation, noise = (select_seats(each, seats, self.players)[asked] for each in (turn.observation, noise))
        legal_rows = None if legal is None else select_seats(legal, seats, self.players)[asked]
        distribution, after = policy(policy.encode(observation, self.seat[group][asked]), legal_rows, memory)
        action, log_prob = choose(distribution, noise, greedy)
        self.memory[group] = after = policy.remember(after, distribution, action)
        if memory is not None and not acting.all():
            self.memory[group] = choose_rows(acting, after, memory)
        if not everywhere:
            action, log_prob = (spread_rows(each, acting) for each in (action, log_prob))
        return action.view(self.games, len(seats), *action.shape[1:]), log_prob.view(self.games, -1)

    def _memory_at(self, group: int, done: Tensor) -> Memory:
        """Returns a policy's memory (N, …), which is the initial one in games that have just opened."""
        if self.initial[group] is None or not done.any():
            return self.memory[group]
        opens = done.repeat_interleave(len(self.groups[group][1]))
        return choose_rows(opens, self.initial[group], self.memory[group])


class Seats(Protocol):
    """The policies in the seats of B games: `Seating` for one profile, `opponents.OpponentSeating` for several."""

    profile: Profile  # determines the noise
    draws: Memory  # of a team in the last decision

    def decide(self, turn: Turn, noise: Tensor, greedy: bool = False) -> tuple[Tensor, Tensor]: ...

    def seat_memory(self, turn: Turn) -> SeatMemory: ...


class Decision(NamedTuple):
    """One decision of all seats, and its result."""

    before: Turn
    action: Tensor  # (B, P) int64, or (B, P, K) of choices, or (B, P, D) of numbers
    log_prob: Tensor  # (B, P)
    after: Turn
    level: Tensor | None = None  # (B, …) the levels of the games
    draws: Memory = None  # a tree of (B, …); see `TeamDecision`


def draw_noise(profile: Profile, seeds: Tensor, first: int, turns: int) -> Tensor:
    """Returns uniform numbers (turns, B, P, *noise_shape) for decisions `first`, `first` + 1, ….

    See `Policy.noise_shape`.
    """
    seats = (len(profile), *profile[0].noise_shape)
    return draw_uniforms(seeds, first, turns, prod(seats)).unflatten(-1, seats)


def play_turns(
    game: Game,
    seating: Seats,
    turn: Turn,
    seeds: Tensor,
    *,
    first: int = 0,
    turns: int,
    greedy: bool = False,
    levels: CopyLevels | None = None,
) -> Iterator[Decision]:
    """Yields `turns` decisions of B games, starting at `turn`; `first` is the number of the first one.

    The noise of decision n in game b is a function of seeds[b] and n. This generator is used for learning, scoring and
    drawing. Games open at `levels`, if there are any. Raises Refused if one of the first turns is invalid; see `Turn`.
    """
    for start in range(first, first + turns, NOISE_BLOCK):
        for number, noise in enumerate(
            draw_noise(seating.profile, seeds, start, min(NOISE_BLOCK, first + turns - start)), start
        ):
            action, log_prob = seating.decide(turn, noise, greedy)
            after, level = take_step(game, turn, action, number), None
            if levels is not None:
                level, after = levels.level, levels.restart(after)
            yield Decision(turn, action, log_prob, after, level, seating.draws)
            turn = after


def open_games(game: Game, seeds: Tensor) -> tuple[Turn, Tensor]:
    """Returns the first turn of a game for each seed (B,), and the seeds on the device of the game.

    Raises Refused.
    """
    turn = game.reset(seeds)
    check_turn(game, turn, len(seeds))
    return turn, seeds.to(turn.reward.device)


@torch.no_grad()
def play(
    game: Game, profile: Profile, turn: Turn, seeds: Tensor, clock: int, turns: int, memory: SeatMemory = ()
) -> tuple[Trajectory, Turn, SeatMemory]:
    """Plays `turns` decisions, starting at `turn`; `clock` is the number of the first one, seeds (B,) give the noise.

    `memory` is that of the seats at `turn`, as returned by an earlier call; by default they have none. Returns the
    trajectory, the turn after it, and the memory.
    """
    if (tabulated := tabulated_game(game, profile, turns * len(seeds))) is not None:
        trajectory, after = tabulated.play_tabulated(tabulate_logits(tabulated, profile), seeds, clock, turns)
        nothing = (None,) * len(profile)  # is remembered by tables
        return trajectory._replace(memory=nothing), after, (nothing,)
    return record(game, Seating(profile, len(seeds), seeds.device, memory), turn, seeds, clock, turns)


@torch.no_grad()
def record(
    game: Game, seating: Seats, turn: Turn, seeds: Tensor, clock: int, turns: int, levels: CopyLevels | None = None
) -> tuple[Trajectory, Turn, SeatMemory]:
    """Returns what `play` returns, for given seats."""
    remembered = seating.seat_memory(turn)
    decisions = list(play_turns(game, seating, turn, seeds, first=clock, turns=turns, levels=levels))
    before, after = [each.before for each in decisions], [each.after for each in decisions]
    legal = None if all(bool(each.legal.all()) for each in before) else torch.stack([each.legal for each in before])
    trajectory = Trajectory(
        observation=torch.stack([each.observation for each in before]),
        legal=legal,
        acting=torch.stack([each.acting for each in before]),
        action=torch.stack([each.action for each in decisions]),
        log_prob=torch.stack([each.log_prob for each in decisions]),
        reward=torch.stack([each.reward for each in after]),
        shaping=torch.stack([each.shaping for each in after]),
        done=torch.stack([each.done for each in after]),
        truncated=torch.stack([each.truncated for each in after]),
        alive=stack_masks([each.alive for each in before]),
        final_acting=stack_masks([each.final_acting for each in after]),
        memory=remembered[0],
        level=None if levels is None else torch.stack([each.level for each in decisions if each.level is not None]),
        draws=map_tree(lambda *each: torch.stack(each), *(each.draws for each in decisions)),
    )
    finals = [each.final for each in after]
    trajectory = trajectory._replace(final=stack_finals(game, finals, trajectory.observation, trajectory.truncated))
    check_stretch(game, trajectory)
    return trajectory, after[-1], seating.seat_memory(after[-1])


def take_step(game: Game, turn: Turn, action: Tensor, number: int) -> Turn:
    """Returns the turn after decision `number`, and checks it if it is one of the first.

    Seats that have left the game earn nothing, whatever the game pays them. Raises Refused for an invalid turn, also if
    it was the one before that made the game fail.
    """
    try:
        after = game.step(action)
    except Exception:
        check_turn(game, turn, len(turn.done))
        raise
    if number < LOOK_AT:
        check_turn(game, after, len(turn.done))
    if turn.alive is None:
        return after
    return after._replace(reward=after.reward * turn.alive, shaping=after.shaping * turn.alive)


@torch.no_grad()
def score(
    game: Game,
    profile: Profile,
    seeds: Tensor,
    *,
    greedy: bool = False,
    take_seats: Callable[[Profile, int, torch.device], Seats] = Seating,
) -> Tensor:
    """Plays one game for each seed (B,); returns payoffs (B, P) without shaping or discount.

    Raises Refused if turns are invalid, and Halted if a game does not end.
    """
    turn, seeds = open_games(game, seeds)
    earned = turn.reward * turn.done[:, None]  # games that ended before anyone acted
    unfinished = ~turn.done
    seating = take_seats(profile, len(seeds), seeds.device)
    for decision in play_turns(game, seating, turn, seeds, turns=LONGEST, greedy=greedy):
        earned += decision.after.reward * unfinished[:, None]
        unfinished &= ~decision.after.done
        if not unfinished.any():
            check_earned(game, earned)
            return earned
    raise Halted(
        f"{type(game).__name__}: {int(unfinished.sum())} of {len(seeds)} games had not ended after {LONGEST:,} turns, "
        "so they cannot be scored; a game must be done some time, or truncated, with its last observation as final"
    )
