"""Checks of turns against `Turn`: complete ones for the first turns, cheap ones for all others."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from marl_engine.capabilities import spaces_of
from marl_engine.errors import Halted, Refused
from marl_engine.types import Turn

LOOK_AT = 8  # first turns of a game, which are checked completely
WITHOUT_FINAL = (
    "a game is truncated and final is None; final must be its last observation (B, P, …), of which "
    "learners take the value, or truncated False where the game is over by its rules"
)


def check_turn(game: Any, turn: Any, copies: int) -> None:
    """Raises Refused, with what was expected and given, unless a turn of B = `copies` games is as `Turn` says.

    Shapes, types, finite numbers, a legal action for each seat that acts, nobody who acts and has left the game, and
    `final` where a game is truncated.
    """
    name = type(game).__name__
    if not isinstance(turn, Turn):
        raise Refused(f"{name} must return a marl_engine.types.Turn, not {type(turn).__name__}")
    seats = (copies, game.players)
    observed_shape = (*seats, *game.observation_shape)
    shapes = {"observation": observed_shape, "legal": (*seats, game.actions), "acting": seats, "reward": seats}
    shapes |= {"shaping": seats, "done": (copies,), "truncated": (copies,)}
    if turn.final is not None:
        shapes["final"] = observed_shape
    if turn.alive is not None:
        shapes["alive"] = seats
    if turn.final_acting is not None:
        shapes["final_acting"] = seats
    types = {"observation": None, "final": None, "reward": torch.float32, "shaping": torch.float32}
    for field, shape in shapes.items():
        if wrong := tensor_mismatch(turn._asdict()[field], shape, types.get(field, torch.bool)):
            raise Refused(f"{name}: {field} must be {wrong}")
    if wrong := fault(turn):
        raise Refused(f"{name}: {wrong}")
    if wrong := branch_fault(game, turn.legal, turn.acting):
        raise Refused(f"{name}: {wrong}")
    if turn.alive is not None and (wrong := absence_fault(turn.alive, turn.acting)):
        raise Refused(f"{name}: {wrong}")
    if (turn.truncated & ~turn.done).any():
        raise Refused(f"{name}: truncated must be False where done is False")
    if turn.final is None and turn.truncated.any():
        raise Refused(f"{name}: {WITHOUT_FINAL}")


def tensor_mismatch(value: Any, shape: tuple[int, ...], dtype: torch.dtype | None) -> str:
    """Returns how a tensor differs from the expected shape and type; empty if it does not.

    `dtype` None means any.
    """
    expected = f"{tuple(shape)}" if dtype is None else f"{dtype} {tuple(shape)}"
    if not isinstance(value, Tensor):
        return f"a tensor {expected}, not {type(value).__name__}"
    if value.shape != shape or dtype not in (None, value.dtype):
        return f"{expected}, not {value.dtype} {tuple(value.shape)}"
    return ""


def fault(turn: Any) -> str:
    """Returns what is wrong with a `Turn` or a `Trajectory`: numbers are not finite, or a seat has no legal action.

    Returns an empty text if nothing is wrong. `final` counts where a game is truncated.
    """
    numbers = {"observation": turn.observation, "reward": turn.reward, "shaping": turn.shaping}
    if turn.final is not None and turn.truncated.any():
        numbers["final"] = turn.final.where(
            turn.truncated.view(*turn.done.shape, *[1] * (turn.final.ndim - turn.done.ndim)), 0
        )
    for name, each in numbers.items():
        if wrong := number_fault(each):
            return f"{name} must be finite numbers; {wrong}"
    legal, acting = turn.legal, turn.acting
    if legal is not None and not (able := legal.any(-1) | ~acting).all():
        place = (~able).nonzero()[0].tolist()
        return f"a seat that is acting must have a legal action; legal is False for all of them at {place}"
    return ""


def number_fault(numbers: Tensor) -> str:
    """Returns where a number is not finite; empty if none is.

    A finite sum shows that all numbers are finite, in one pass; otherwise they are tested one by one.
    """
    if not numbers.is_floating_point() or numbers.sum().isfinite() or numbers.isfinite().all():
        return ""
    place = (~numbers.isfinite()).nonzero()[0].tolist()
    return f"at {place} it has {numbers[tuple(place)].item()}"


def branch_fault(game: Any, legal: Tensor, acting: Tensor) -> str:
    """Returns what is wrong with legal actions (B, P, A) of several choices; empty if nothing is."""
    branches = spaces_of(game).action.branches
    for branch, mask in enumerate(legal.split(branches, -1) if branches else ()):
        if not (able := mask.any(-1) | ~acting).all():
            place = (~able).nonzero()[0].tolist()
            return f"a seat that is acting must have a legal action in every branch; it has none in {branch} at {place}"
    return ""


def absence_fault(alive: Tensor, acting: Tensor) -> str:
    """Returns what is wrong with alive (B, P) given acting (B, P); empty if nothing is."""
    if (absent := acting & ~alive).any():
        return f"acting must be False where alive is False; it is True at {absent.nonzero()[0].tolist()} (copy, seat)"
    if (empty := ~alive.any(-1)).any():
        return f"a game that all seats have left must be done; nobody is alive in copy {empty.nonzero()[0].item()}"
    return ""


def check_stretch(game: Any, played: Any) -> None:
    """Raises Halted if a `Trajectory` has numbers that are not finite, or acting seats without a legal action."""
    if wrong := fault(played):
        raise Halted(f"{type(game).__name__}: {wrong} (decision, copy, seat, …)")


def stack_finals(game: Any, finals: list[Tensor | None], observation: Tensor, truncated: Tensor) -> Tensor | None:
    """Returns the final observations (T, B, P, …) of turns; None if no turn has any.

    Raises Halted if a game was truncated (T, B) without one.
    """
    silent = [turn for turn, final in enumerate(finals) if final is None]
    if silent and truncated[silent].any():
        raise Halted(f"{type(game).__name__}: {WITHOUT_FINAL}")
    if len(silent) == len(finals):
        return None
    return torch.stack([observation[turn] if final is None else final for turn, final in enumerate(finals)])


def stack_masks(masks: Sequence[Tensor | None]) -> Tensor | None:
    """Returns masks (T, B, P) from those of each turn, of which None is True everywhere; None if all are None."""
    first = next((each for each in masks if each is not None), None)
    if first is None:
        return None
    return torch.stack([torch.ones_like(first) if each is None else each for each in masks])


def check_earned(game: Any, earned: Tensor) -> None:
    """Raises Halted if returns (B, P) are not finite."""
    if not earned.isfinite().all():
        raise Halted(f"{type(game).__name__}: reward must be finite numbers; a whole game earned {earned.tolist()[0]}")
