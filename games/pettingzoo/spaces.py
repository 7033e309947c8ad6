"""The spaces of an environment's agents as arrays of one shape.

Where agents have unequal spaces, observations are padded with zeros, and actions with illegal ones. Discrete
observations become one-hot. Dicts and tuples are flattened by Gymnasium. `action_mask` is taken from the observation or
from the info.
"""

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from marl_engine.errors import Refused

MASK = "action_mask"
Write = Callable[[Any, np.ndarray], None]  # writes an observation into a row
Read = Callable[[Any], Any]  # returns an agent's action from its row of numbers


class Layout(NamedTuple):
    """How P agents share arrays: observations of one shape, and A actions, or D numbers."""

    agents: tuple[Any, ...]
    shape: tuple[int, ...]  # of observations
    dtype: np.dtype  # of observations: uint8 or float32
    branches: tuple[int, ...]  # sizes of K choices; (): one choice, or numbers
    low: np.ndarray | None  # (D,); None: actions are choices
    high: np.ndarray | None
    legal: np.ndarray  # (P, A) bool: the actions that an agent has at all
    groups: tuple[int, ...]  # of agents with equal spaces
    writes: tuple[Write, ...]
    reads: tuple[Read, ...]
    places: tuple[Any, ...]  # where the mask of each agent stands among the A actions


class Choices(NamedTuple):
    """The choices of one agent."""

    sizes: tuple[int, ...]
    read: Read


def layout_of(env: Any, pixels: int | None = None) -> Layout:
    """Returns the layout of an environment. Raises Refused for agents or spaces that cannot be played.

    With `pixels`, observations are pictures, of which every so many-th row and column is shown, scaled to [0, 1].
    """
    name, agents = str(env), tuple(getattr(env, "possible_agents", ()))
    if not agents:
        raise Refused(f"{name} does not list its possible_agents, so there are no seats for them")
    seen, done = ([of(agent) for agent in agents] for of in (env.observation_space, env.action_space))
    if pixels is not None:
        seen = [shrink_space(name, space, pixels) for space in seen]
    bare = [without_mask(space) for space in seen]
    shapes = [shape_of(name, space) for space in bare]
    alike = len(set(shapes)) == 1
    shape = shapes[0] if alike else (max(int(np.prod(each)) for each in shapes),)
    bytes_only = all(is_bytes(space) for space in bare)
    writes = tuple(masked_write(*each, alike) for each in zip(seen, bare, shapes, strict=True))
    if pixels is not None:
        writes = tuple(shrink_write(each, pixels) for each in writes)
    groups = group_equal(list(zip(seen, done, strict=True)))
    common = (agents, shape, np.dtype(np.uint8 if bytes_only else np.float32))
    kinds = {type(space).__name__ for space in done}
    if kinds == {"Box"}:
        return Layout(*common, (), *box_layout(done), groups, writes, tuple(map(read_box, done)), (None,) * len(done))
    if "Box" in kinds:
        raise Refused(f"the agents of {name} have actions of different kinds, {' and '.join(sorted(kinds))}")
    choices = [choices_of(name, space) for space in done]
    sizes = [each.sizes for each in choices]
    branches = tuple(max(column) for column in zip(*(each + (1,) * most(sizes, each) for each in sizes), strict=True))
    starts = (0, *accumulate(branches))
    legal = np.zeros((len(agents), starts[-1]), bool)
    places = tuple(
        np.concatenate([start + np.arange(size) for start, size in zip(starts, own, strict=False)]) for own in sizes
    )
    for seat, (own, place) in enumerate(zip(sizes, places, strict=True)):
        legal[seat, place] = True
        legal[seat, list(starts[len(own) : -1])] = True  # choices that the agent does not have
    several = len(branches) > 1
    reads = tuple(each.read if several else read_single(each.read) for each in choices)
    return Layout(*common, branches if several else (), None, None, legal, groups, writes, reads, places)


def most(sizes: list[tuple[int, ...]], own: tuple[int, ...]) -> int:
    """Returns how many choices an agent lacks."""
    return max(map(len, sizes)) - len(own)


def without_mask(space: Any) -> Any:
    """Returns the space of an observation without its mask of actions."""
    from gymnasium import spaces

    if not isinstance(space, spaces.Dict) or MASK not in space.spaces:
        return space
    rest = {key: each for key, each in space.spaces.items() if key != MASK}
    return next(iter(rest.values())) if len(rest) == 1 else spaces.Dict(rest)


def shrink_space(name: str, space: Any, pixels: int) -> Any:
    """Returns the space of a picture with fewer pixels. Raises Refused for observations that are no pictures."""
    from gymnasium import spaces

    if not isinstance(space, spaces.Box) or len(space.shape) != 3 or space.dtype != np.uint8:
        raise Refused(f"game.pixels is for pictures, bytes of (height, width, channels); {name} shows {space}")
    height, width, channels = space.shape
    return spaces.Box(0.0, 1.0, (-(-height // pixels), -(-width // pixels), channels), np.float32)


def shrink_write(write: Write, pixels: int) -> Write:
    """Returns the function that writes a picture with fewer pixels."""
    scale = np.float32(1 / 255)
    return lambda observation, row: write(observation[::pixels, ::pixels] * scale, row)


def shape_of(name: str, space: Any) -> tuple[int, ...]:
    """Returns the shape of an observation as an array. Raises Refused for texts, graphs and sequences."""
    from gymnasium import spaces

    if isinstance(space, spaces.Box) and space.shape:
        return tuple(space.shape)
    try:
        return (int(spaces.flatdim(space)),)
    except (NotImplementedError, ValueError) as error:
        raise Refused(f"observations of {name} have no fixed length: {space}") from error


def is_bytes(space: Any) -> bool:
    """Whether the numbers of an observation are whole and from 0 to 255."""
    from gymnasium import spaces

    if isinstance(space, spaces.Box):
        whole = np.issubdtype(space.dtype, np.integer) or space.dtype == bool
        return bool(whole and space.low.min() >= 0 and space.high.max() <= 255)
    return isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)


def masked_write(space: Any, bare: Any, shape: tuple[int, ...], alike: bool) -> Write:
    """Returns the function that writes an observation, whose mask is left out, into a row."""
    write = write_of(bare, shape, alike)
    if space is bare:
        return write
    keys = [key for key in space.spaces if key != MASK]
    if len(keys) == 1:
        return lambda observation, row: write(observation[keys[0]], row)
    return lambda observation, row: write({key: observation[key] for key in keys}, row)


def write_of(space: Any, shape: tuple[int, ...], alike: bool) -> Write:
    """Returns the function that writes an observation into a row, which is longer if agents are not alike."""
    from gymnasium import spaces

    size = int(np.prod(shape))

    def write_array(observation: Any, row: np.ndarray) -> None:
        row[...] = observation

    def write_part(observation: Any, row: np.ndarray) -> None:
        row[:size] = np.ravel(observation)

    def write_flat(observation: Any, row: np.ndarray) -> None:
        row[:size] = spaces.flatten(space, observation)

    if isinstance(space, spaces.Box):
        return write_array if alike else write_part
    return write_flat


def group_equal(pairs: list[Any]) -> tuple[int, ...]:
    """Returns the group of each agent, numbered from 0: agents with equal spaces are in one."""
    first = [pairs.index(pair) for pair in pairs]
    return tuple(sorted(set(first)).index(each) for each in first)


def box_layout(done: list[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the bounds (D,) that contain those of all agents, and that all actions are legal (P, D)."""
    wide = max(int(np.prod(space.shape)) for space in done)
    low, high = np.full(wide, np.inf, np.float32), np.full(wide, -np.inf, np.float32)
    for space in done:
        size = int(np.prod(space.shape))
        low[:size] = np.minimum(low[:size], space.low.ravel())
        high[:size] = np.maximum(high[:size], space.high.ravel())
    return low, high, np.ones((len(done), wide), bool)


def read_box(space: Any) -> Read:
    """Returns the function that clips numbers to the agent's own bounds."""
    size = int(np.prod(space.shape))

    def read(row: np.ndarray) -> np.ndarray:
        return np.clip(row[:size].reshape(space.shape), space.low, space.high).astype(space.dtype)

    return read


def choices_of(name: str, space: Any) -> Choices:
    """Returns the choices of an action space. Raises Refused for other spaces."""
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return Choices((int(space.n),), lambda row: row[0] + start)
    if isinstance(space, spaces.MultiDiscrete):
        sizes, shape = space.nvec.ravel(), space.nvec.shape

        def read(row: Any) -> np.ndarray:
            return np.asarray(row[: len(sizes)], space.dtype).reshape(shape) + space.start

        return Choices(tuple(map(int, sizes)), read)
    if isinstance(space, spaces.MultiBinary):
        length, form = int(np.prod(space.shape)), space.shape
        return Choices((2,) * length, lambda row: np.asarray(row[:length], space.dtype).reshape(form))
    raise Refused(
        f"actions of {name} are {space}; an agent must have a Discrete, MultiDiscrete, MultiBinary or Box space"
    )


def read_single(read: Read) -> Read:
    """Returns the reader of a row that is one number."""
    return lambda number: read((number,))


def find_mask(observation: Any, info: Mapping[str, Any]) -> Any:
    """Returns the mask of an agent's actions; None if there is none."""
    mask = observation.get(MASK) if isinstance(observation, dict) else None
    mask = info.get(MASK) if mask is None else mask
    return np.concatenate([np.ravel(each) for each in mask]) if isinstance(mask, tuple) else mask
