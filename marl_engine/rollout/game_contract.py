"""Checks that a game satisfies its contract, for authors (`marl-train game._target_=… check=true`) and for tests.

Each check plays with random legal actions. It returns a sentence about what was checked, and raises Refused with a
sentence that says what was expected and what was found. In a slow game it checks less, and says so.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from math import inf, prod
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.capabilities import groups_of, spaces_of
from marl_engine.errors import Halted, Refused, describe
from marl_engine.numerics.rng import derive_seeds, draw_uniforms
from marl_engine.rollout.turn_checks import check_turn
from marl_engine.types import Game, Turn

DECLARED = {"players": int, "actions": int, "observation_shape": tuple, "symmetric": bool}
METHODS = ("reset", "step", "state", "restore")
LONGEST = 10_000  # turns in which a game should end
ENOUGH = 256  # games that must end, played in parallel
FEW = 4  # the same in a game of which so many do not end in time
SECONDS = 15.0  # for which many games are played


def check_declarations(game: Any) -> str:
    """The game says how many players, actions and features it has, and has the methods of `Game`."""
    name = type(game).__name__
    for attribute, kind in DECLARED.items():
        value = getattr(game, attribute, None)
        if not isinstance(value, kind):
            raise Refused(f"{name}.{attribute} must be of type {kind.__name__}, not {value!r}")
    missing = [method for method in METHODS if not callable(getattr(game, method, None))]
    if missing:
        raise Refused(f"{name} has no {', '.join(missing)}; a game has {', '.join(METHODS)}")
    if min(game.players, game.actions) < 1:
        raise Refused(f"{name}: players and actions must be 1 or more, not {game.players} and {game.actions}")
    check_spaces(name, game)
    return f"{game.players} players, {game.actions} actions, observations {tuple(game.observation_shape)}"


def check_spaces(name: str, game: Any) -> None:
    """Raises Refused for branches that do not sum to the number of actions, for groups that are not numbered, and for
    sizes that are not those of all seats.
    """
    spaces = spaces_of(game)
    branches = spaces.action.branches
    if branches and sum(branches) != game.actions:
        raise Refused(f"{name}: spaces.action.branches must sum to actions, {game.actions}, not {branches}")
    groups = groups_of(game)
    if len(groups) != game.players or set(groups) != set(range(max(groups) + 1)):
        raise Refused(f"{name}: spaces.groups must have the number of a group, from 0, for each seat, not {groups}")
    for field, most in (("observation_sizes", prod(spaces.observation_shape)), ("action_sizes", game.actions)):
        sizes = spaces._asdict()[field]
        if sizes and (len(sizes) != game.players or not all(0 < size <= most for size in sizes)):
            raise Refused(f"{name}: spaces.{field} must have a number from 1 to {most} for each seat, not {sizes}")


def check_shapes(game: Game, copies: int = 5, turns: int = 50) -> str:
    """Checks shapes, types and finite values of turns, and that seats that act have a legal action."""
    turn = game.reset(derive_seeds(0, copies))
    kind = None
    for number in range(turns):
        check_turn(game, turn, copies)
        kind = kind or turn.observation.dtype
        if turn.observation.dtype != kind:
            raise Refused(f"{type(game).__name__}: observation must stay {kind}, and is {turn.observation.dtype} later")
        before, turn = turn, game.step(random_actions(game, turn, number))
        check_leaving(game, before, turn)
    return f"{turns} turns of {copies} copies have the shapes and types of Turn, finite numbers and legal actions"


def check_leaving(game: Game, before: Turn, turn: Turn) -> None:
    """Raises Refused where a seat that has left a game is back before that game is done."""
    if before.alive is None:
        return
    back = ~before.alive & ~turn.done[:, None]
    if turn.alive is not None:
        back &= turn.alive
    if back.any():
        raise Refused(
            f"{type(game).__name__}: a seat that has left a game must stay away until the game is done; alive is True "
            f"again at {back.nonzero()[0].tolist()} (copy, seat)"
        )


def check_batching(game: Game, copies: int = 64, turns: int = 60) -> str:
    """Checks that copy b of a batch depends only on its own seed."""
    alone, together = deepcopy(game), deepcopy(game)
    seeds, compared = derive_seeds(1, copies), turns
    for copy in (0, copies // 2, copies - 1):
        start = perf_counter()
        one, many = alone.reset(seeds[copy : copy + 1]), together.reset(seeds)
        for number in range(turns):
            if field := difference(one, many, 0, copy):
                raise Refused(
                    f"{type(game).__name__}: copy {copy} of {copies} must depend on its own seed alone, not on what is "
                    f"played beside it; {field} differs at turn {number}"
                )
            if perf_counter() - start > SECONDS / 3:
                compared = min(compared, number + 1)
                break
            actions = random_actions(game, many, number)
            one, many = alone.step(actions[copy : copy + 1]), together.step(actions)
    return f"a copy depends on its own seed alone ({compared} turns of {copies} copies)"


def check_restore(game: Game, copies: int = 3, before: int = 30, after: int = 20) -> str:
    """A saved state goes on in a new game as in the old one, and saving shares no memory with it."""
    name, other, turn = type(game).__name__, deepcopy(game), game.reset(derive_seeds(3, copies))
    for number in range(before):
        turn = game.step(random_actions(game, turn, number))
    state = game.state()
    clones = {key: each.clone() for key, each in state.items()}
    again, here = other.restore(deepcopy(state)), turn
    opening = {"reward": here.reward, "shaping": here.shaping, "done": here.done, "truncated": here.truncated}
    if field := difference(here, again._replace(**opening, final=here.final, final_acting=here.final_acting)):
        raise Refused(f"{name}: restore must return the turn that was to be played; its {field} is another")
    for number in range(before, before + after):
        turn = game.step(random_actions(game, turn, number))
        again = other.step(random_actions(game, again, number))
        if field := difference(turn, again):
            raise Refused(f"{name}: a restored game must go on as the saved one; {field} differs at turn {number}")
    changed = next((key for key in clones if not torch.equal(state[key], clones[key])), None)
    if changed is not None:
        raise Refused(f"{name}: state()[{changed!r}] must be a copy; it changes while the game goes on")
    return f"a restored game goes on as the saved one ({after} turns of {copies} copies)"


class Endings(NamedTuple):
    """Openings and endings of games that were played repeatedly."""

    openings: Tensor  # (B, P, ...) first observations of copies
    reopenings: Tensor  # (N, P, ...) first observations after an ending
    lengths: list[int]  # (N,) turns of the games that ended
    truncated: int  # of them
    turns: int  # played


def play_on(
    game: Game, copies: int = ENOUGH, longest: int = LONGEST, enough: int = ENOUGH, seconds: float = inf
) -> Endings:
    """Plays until `enough` games have ended, for `longest` turns, or for `seconds`.

    Raises Refused for a turn that is wrong.
    """
    start, number = perf_counter(), 0
    turn = game.reset(derive_seeds(2, copies))
    openings, reopenings, lengths, truncated = turn.observation.clone(), [], [], 0
    since = torch.zeros(copies, dtype=torch.int64)
    for number in range(longest):
        turn = game.step(random_actions(game, turn, number))
        since += 1
        if turn.done.any():
            check_turn(game, turn, copies)
            reopenings.append(turn.observation[turn.done].clone())
            lengths += since[turn.done].tolist()
            truncated += int(turn.truncated.sum())
            since[turn.done] = 0
        if len(lengths) >= enough or perf_counter() - start > seconds:
            break
    return Endings(openings, torch.cat([openings[:0], *reopenings]), lengths, truncated, number + 1)


def strange(endings: Endings) -> Tensor:
    """Returns which reopenings (N,) differ from every first opening."""
    openings = {each.numpy().tobytes() for each in endings.openings}
    return torch.tensor([each.numpy().tobytes() not in openings for each in endings.reopenings], dtype=torch.bool)


def check_ends(game: Game, longest: int = LONGEST) -> str:
    """Checks that games end, and that the turn that ends a game has the opening of the next one.

    If openings repeat, most reopenings must be among those seen before. The share of new ones is estimated by that of
    openings seen exactly once (Good 1953). In a game that is too slow to end often, openings are not compared.
    """
    name, endings = type(game).__name__, play_on(game, longest=longest, seconds=SECONDS)
    if not endings.lengths and endings.turns < longest:
        endings = play_on(game, FEW, longest, FEW, SECONDS)
    count = len(endings.lengths)
    slow = count < ENOUGH and endings.turns < longest
    if not count and slow:
        return f"no game ended in {endings.turns:,} turns ({SECONDS:g} seconds); that games end has not been checked"
    if not count:
        raise Refused(
            f"{name}: no game ended within {longest:,} turns of random play; a game must be done some time, or "
            "truncated, with its last observation as final, or it cannot be scored"
        )
    counts = endings.openings.flatten(1).unique(dim=0, return_counts=True)[1]
    if not slow and (counts == 1).float().sum() < len(endings.openings) / 4 and strange(endings).float().mean() > 0.5:
        raise Refused(
            f"{name}: where done is True, observation must be that of the game that opens next; it is one with which "
            f"none of {len(endings.openings)} games opens (the last observation of a truncated game belongs in final)"
        )
    lengths, cut = f"{min(endings.lengths):,} to {max(endings.lengths):,}", endings.truncated
    anew = "; the game is too slow to compare how they opened anew" if slow else ", and opened anew"
    return f"{count} games ended after {lengths} turns{f', {cut} of them truncated' if cut else ''}{anew}"


def difference(one: Turn, other: Turn, row: int | None = None, other_row: int | None = None) -> str:
    """The first field in which two turns differ, all of them or the games in these rows; empty where none does."""
    for field, first, second in zip(Turn._fields, fill_turn(one), fill_turn(other), strict=True):
        if not torch.equal(*((first, second) if row is None else (first[row], second[other_row]))):
            return field
    return ""


def fill_turn(turn: Turn) -> list[Tensor]:
    """Returns the fields of a turn with what None stands for; final ones count only where a game is truncated."""
    everyone, cut = torch.ones_like(turn.acting), turn.truncated
    final = torch.zeros_like(turn.observation) if turn.final is None else turn.final.clone()
    final_acting = everyone if turn.final_acting is None else turn.final_acting.clone()
    final[~cut], final_acting[~cut] = 0, True
    filled = turn._replace(final=final, final_acting=final_acting, alive=everyone if turn.alive is None else turn.alive)
    return [each for each in filled if each is not None]


def random_actions(game: Any, turn: Turn, seed: int) -> Tensor:
    """Returns random legal actions (B, P), a function of seed and position in the batch.

    In games with continuous actions they are numbers (B, P, D) within the bounds, or within 1 of zero without bounds;
    with branches they are (B, P, K).
    """
    seeds = derive_seeds(seed, len(turn.legal))
    space = spaces_of(game).action
    if space.low is not None and space.high is not None:
        noise = draw_uniforms(seeds, 0, 1, game.players * game.actions).view(turn.legal.shape)
        low, high = space.low.nan_to_num(neginf=-1.0), space.high.nan_to_num(posinf=1.0)
        return low + (high - low) * noise
    branches = space.branches or (game.actions,)
    (noise,) = draw_uniforms(seeds, 0, 1, game.players * len(branches))
    choices = [
        random_choices(legal, each)
        for legal, each in zip(
            turn.legal.split(branches, -1), noise.unflatten(-1, (game.players, -1)).unbind(-1), strict=True
        )
    ]
    return torch.stack(choices, dim=-1) if space.branches else choices[0]


def random_choices(legal: Tensor, noise: Tensor) -> Tensor:
    """Returns the legal actions (B, P) that numbers (B, P) in [0, 1) choose uniformly from legal (B, P, A)."""
    cumulative = legal.float().cumsum(-1)
    return (cumulative <= noise[..., None] * cumulative[..., -1:]).sum(-1)


CHECKS: tuple[Callable[[Any], str], ...] = (
    check_declarations,
    check_shapes,
    check_batching,
    check_restore,
    check_ends,
)


def check_game(game: Any) -> Iterator[str]:
    """Runs all checks; yields the sentence of each. Raises Refused.

    Exceptions of the game are reported with the line of code that raised them.
    """
    for check in CHECKS:
        try:
            yield check(deepcopy(game))
        except Refused:
            raise
        except Halted as error:
            raise Refused(describe(error)) from error
        except Exception as error:
            raise Refused(f"{type(game).__name__} raises {locate(error)} in {check.__name__}") from error


def locate(error: Exception) -> str:
    """An error of somebody's code, with the line where it rose."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
    return f"{type(error).__name__}: {error}{place}"
