"""The scenarios of mpe2 1.1.1: who is in a world, what they observe, what they can do, and what they are paid for.

Each function has the parameters of mpe2's scenario and its default values, and returns the constants of the world.
Raises ValueError for parameters out of range.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from games.mpe.world import (
    GOAL,
    LANDMARKS,
    LISTENER,
    MESSAGES,
    MOVES,
    OTHERS,
    POSITION,
    PREY,
    REFERENCE,
    SPREAD,
    TAG,
    VELOCITY,
    World,
)
from marl_engine.numerics.checks import check_number

KINDS = 7  # of observations, VELOCITY ... MESSAGES
PUSH = 5.0  # force of a movement action
GREY = 0.25
DIRECTIONS = ("none", "left", "right", "down", "up")


def simple_spread(max_cycles: int, N: int = 3, local_ratio: float = 0.5, terminate_on_success: bool = False) -> World:
    """N agents cover N landmarks, and avoid collisions."""
    check_number("game.N", N, least=1, whole=True)
    check_number("game.local_ratio", local_ratio, least=0, most=1)
    sees = seen(VELOCITY, POSITION, LANDMARKS, OTHERS, MESSAGES)
    return make_world(
        [sees] * N, [0.15] * N, [0.05] * N, SPREAD, max_cycles,
        solid=N, words=2, local_ratio=local_ratio, terminates=terminate_on_success,
    )  # fmt: skip


def simple_tag(max_cycles: int, num_good: int = 1, num_adversaries: int = 3, num_obstacles: int = 2) -> World:
    """Slow adversaries, the first seats, hunt faster good agents; obstacles are in the way."""
    for name, number in (("num_good", num_good), ("num_adversaries", num_adversaries)):
        check_number(f"game.{name}", number, least=1, whole=True)
    check_number("game.num_obstacles", num_obstacles, least=0, whole=True)
    agents = num_adversaries + num_good
    sees = [seen(VELOCITY, POSITION, LANDMARKS, OTHERS, PREY)] * agents
    radius, obstacles = [0.075] * num_adversaries + [0.05] * num_good, [0.2] * num_obstacles
    world = make_world(sees, radius, obstacles, TAG, max_cycles, solid=agents + num_obstacles, hunters=num_adversaries)
    world.strength[:] = [3.0] * num_adversaries + [4.0] * num_good
    world.top_speed[:] = [1.0] * num_adversaries + [1.3] * num_good
    world.start[agents:] = 0.9
    return world


def simple_reference(max_cycles: int, local_ratio: float = 0.5) -> World:
    """Two agents have to go to one of three landmarks, which only the other one knows; both speak."""
    check_number("game.local_ratio", local_ratio, least=0, most=1)
    sees = seen(VELOCITY, LANDMARKS, GOAL, MESSAGES)
    world = make_world(
        [sees] * 2, [0.05] * 2, [0.05] * 3, REFERENCE, max_cycles,
        words=10, goals=2, local_ratio=local_ratio,
    )  # fmt: skip
    world.speaks[:] = True
    world.colours[:] += 0.5 * np.eye(3)
    return world


def simple_speaker_listener(max_cycles: int) -> World:
    """A speaker, seat 0, tells a listener which of three landmarks to go to."""
    sees = [seen(GOAL), seen(VELOCITY, LANDMARKS, MESSAGES)]
    world = make_world(sees, [0.075] * 2, [0.04] * 3, LISTENER, max_cycles, words=3, goals=1)
    world.speaks[:], world.moves[:] = [True, False], [False, True]
    world.colours[:] += 0.5 * np.eye(3) - 0.1
    return world


SCENARIOS: dict[str, Callable[..., World]] = {
    each.__name__: each for each in (simple_spread, simple_tag, simple_reference, simple_speaker_listener)
}


def seen(*kinds: int) -> np.ndarray:
    """Returns which kinds of observations (7,) bool an agent has."""
    return np.isin(np.arange(KINDS), kinds)


def make_world(
    sees: Sequence[np.ndarray],
    radius: Sequence[float],
    landmarks: Sequence[float],
    rewards: int,
    max_cycles: int,
    solid: int = 0,
    **constants: Any,
) -> World:
    """Returns a world of agents who move and do not speak, given what they observe, and all radii.

    `constants` are further fields of `World`, whose defaults are 0 and False.
    """
    agents = len(sees)
    defaults = {"words": 0, "goals": 0, "hunters": 0, "local_ratio": 1.0, "terminates": False}
    numbers = {**defaults, **constants}
    return World(
        agents=agents,
        solid=solid,
        radius=np.array([*radius, *landmarks]),
        start=np.ones(agents + len(landmarks)),
        strength=np.full(agents, PUSH),
        top_speed=np.full(agents, np.inf),
        moves=np.ones(agents, bool),
        speaks=np.zeros(agents, bool),
        sees=np.stack(sees),
        colours=np.full((len(landmarks), 3), GREY),
        rewards=rewards,
        max_cycles=max_cycles,
        **{**numbers, "local_ratio": float(numbers["local_ratio"])},
    )


def observation_sizes(world: World) -> list[int]:
    """Returns the number of features that each seat observes."""
    others, landmarks = world.agents - 1, len(world.colours)
    prey = [world.agents - world.hunters - (seat >= world.hunters) for seat in range(world.agents)]
    return [
        int(world.sees[seat] @ (2, 2, 2 * landmarks, 2 * others, 2 * prey[seat], 3, world.words * others))
        for seat in range(world.agents)
    ]


def action_counts(world: World, continuous: bool) -> list[int]:
    """Returns the number of actions of each seat, or with `continuous` that of their components."""
    if continuous:
        return [
            int(MOVES * moves + world.words * speaks) for moves, speaks in zip(world.moves, world.speaks, strict=True)
        ]
    return [
        int((MOVES if moves else 1) * (world.words if speaks else 1))
        for moves, speaks in zip(world.moves, world.speaks, strict=True)
    ]


def action_names(world: World, continuous: bool) -> tuple[str, ...]:
    """Returns the names of the actions, or with `continuous` those of their components; () if seats have others."""
    if world.moves.all() and not world.speaks.any():
        return DIRECTIONS
    if not (world.moves.all() and world.speaks.all()):
        return ()
    words = [f"say {word}" for word in range(world.words)]
    return (*DIRECTIONS, *words) if continuous else tuple(f"{move}, {word}" for word in words for move in DIRECTIONS)
