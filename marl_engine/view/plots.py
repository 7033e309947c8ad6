"""Pictures of a run: the learning curve, and a game as an animation."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from marl_engine.capabilities import Drawable
from marl_engine.evaluation.report import Panel
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.rollout import open_games, play_turns
from marl_engine.rollout.seating import Seating, Seats
from marl_engine.runs.folder import metric_column
from marl_engine.types import Game, Profile, main_unit

COLOURS = 127  # of an animation; one more is needed for unchanged pixels
FRAME = 100  # milliseconds


def new_figure(width: float, height: float) -> Any:
    """Returns an empty figure with a size in inches, which belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_curve(records: Sequence[Mapping[str, float]], path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Plots the first panel with a measured metric against work, and saves it as PNG."""
    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    names = {name for record in records for name in record}
    panel = next((each for each in panels if names & set(each.curves)), panels[0])
    unit = main_unit(records[-1]) if records else "steps"
    above = False
    for name, label in panel.curves.items():
        steps, values = metric_column(records, name)
        if steps:
            above |= any(min(point) > 0 for point in zip(steps, values, strict=True))
            axes.plot(steps, values, label=label, alpha=0.5 if name in panel.faint else 1.0)
    scale = "log" if panel.logarithmic and above else "linear"  # zeros have no logarithm
    axes.set(xlabel=unit, ylabel=panel.axis, ylim=panel.limits, xscale=scale, yscale=scale)
    axes.set_title(title, parse_math=False)
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend()
    figure.savefig(path, dpi=130)


def render_game(game: Game, profile: Profile, seed: int = 0, longest: int = 1000) -> list[np.ndarray]:
    """Returns the frames (H, W, 3) uint8 of one game with sampled actions."""
    return draw_frames(deepcopy(game), profile, derive_seeds(seed, 1), longest)


@torch.no_grad()
def draw_frames(
    game: Game,
    profile: Profile,
    seeds: Tensor,
    longest: int = 1000,
    take_seats: Callable[[Profile, int, torch.device], Seats] = Seating,
) -> list[np.ndarray]:
    """Returns the frames (H, W, 3) uint8 of the game with a seed (1,), which is played here; see `rollout.score`."""
    drawable = cast(Drawable, game)
    turn, seeds = open_games(game, seeds)
    seating = take_seats(profile, 1, seeds.device)
    pictures, earned = [drawable.render(caption="step 0   score 0")], 0.0
    for clock, decision in enumerate(play_turns(game, seating, turn, seeds, turns=longest - 1), 1):
        if decision.after.done.any():
            break
        earned += decision.after.reward.mean().item()
        pictures.append(drawable.render(caption=f"step {clock}   score {earned:.0f}"))
    return pictures


def save_gif(pictures: Sequence[np.ndarray], path: Path) -> None:
    """Saves frames (H, W, 3) uint8 as an animation with one palette, so that what does not change takes no space."""
    from PIL import Image

    none = Image.Dither.NONE
    sample = Image.fromarray(np.concatenate(pictures[::10]))
    palette = sample.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=none)
    images = [Image.fromarray(picture).quantize(palette=palette, dither=none) for picture in pictures]
    images[0].save(path, save_all=True, append_images=images[1:], duration=FRAME, loop=0, optimize=True)
