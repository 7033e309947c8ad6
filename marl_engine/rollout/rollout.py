"""Plays profiles: stretches of play to learn from, and whole games to score."""

from collections.abc import Callable, Iterator
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from marl_engine.errors import Halted
from marl_engine.numerics.rng import draw_uniforms
from marl_engine.numerics.trees import map_tree
from marl_engine.rollout.levels import CopyLevels
from marl_engine.rollout.seating import Seating, SeatMemory, Seats
from marl_engine.rollout.tabulation import tabulate_logits, tabulated_game
from marl_engine.rollout.turn_checks import LOOK_AT, check_earned, check_stretch, check_turn, stack_finals, stack_masks
from marl_engine.types import Game, Memory, Profile, Turn

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
