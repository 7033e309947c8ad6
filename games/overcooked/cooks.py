"""Scripted cooks of varying skill: partners that nobody trained, for tournaments and as opponents in learning.

The heuristic is that of `cook_rules`; it delivers soups alone wherever one cook can, and with a partner of its kind in
kitchens that only two can use. A cook of lower skill takes a part of its actions at random, or does nothing instead.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from games.overcooked import rules
from games.overcooked.cook_needs import Plan
from games.overcooked.cook_rules import plan_games, plan_views
from games.overcooked.rules import DISHES, FLOOR, INGREDIENTS, ONIONS, SOUP, TOMATOES, Kitchen
from marl_engine.numerics.checks import check_number
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.types import Memory, Policy

ACTIONS = 6
STEPS = 8  # rough number of steps to fetch an ingredient


class Skill(NamedTuple):
    """How often a cook follows its plan, and the probabilities (6,) of its actions when it does not."""

    attention: float
    slips: tuple[float, ...]


ANYTHING, NOTHING = (1 / ACTIONS,) * ACTIONS, (0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
COOKS = {  # weakest first
    "cook_25": Skill(0.25, ANYTHING),
    "idle_50": Skill(0.5, NOTHING),
    "cook_50": Skill(0.5, ANYTHING),
    "cook_75": Skill(0.75, ANYTHING),
    "cook_100": Skill(1.0, ANYTHING),
}


class CookPolicy(Policy):
    """A scripted cook for the kitchens of one layout. It sees what a learner sees, and remembers nothing."""

    def __init__(self, kitchen: Kitchen, skill: Skill):
        super().__init__()
        check_number("skill", skill.attention, least=0, most=1)
        self.kitchen, self.skill, self.plan = kitchen, skill, make_plan(kitchen)

    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Categorical, Memory]:
        """Returns the distributions of N cooks who observe rows (N, width, height, channels)."""
        views = rows.flatten(1).cpu().contiguous().numpy()
        chances = np.empty((len(views), ACTIONS), np.float32)
        row = np.zeros(len(self.kitchen.start), np.uint16)
        plan_views(self.kitchen, self.plan, views, row, scratch_of(self.kitchen), chances)
        return apply_skill(torch.from_numpy(chances).to(rows.device), self.skill), memory


def cook_distribution(kitchen: Kitchen, plan: Plan, rows: Tensor, skill: Skill) -> Categorical:
    """Returns the distributions (N * P,) of all cooks in kitchens with rows (N, numbers) int16."""
    chances = np.empty((len(rows), kitchen.players, ACTIONS), np.float32)
    plan_games(kitchen, plan, rows.cpu().numpy().view(np.uint16), scratch_of(kitchen), chances)
    return apply_skill(torch.from_numpy(chances).flatten(0, 1), skill)


def apply_skill(chances: Tensor, skill: Skill) -> Categorical:
    """Returns the distributions (N,) of cooks of a skill who plan actions with probabilities (N, 6)."""
    slips = torch.tensor(skill.slips, device=chances.device)
    return Categorical((skill.attention * chances + (1 - skill.attention) * slips).log())


def scratch_of(kitchen: Kitchen) -> np.ndarray:
    """Returns working memory for `cook_rules`."""
    return np.empty((3, kitchen.terrain.size), np.int64)


def make_plan(kitchen: Kitchen) -> Plan:
    """Returns what cooks know about a kitchen."""
    region = label_regions(kitchen)
    touch = np.zeros_like(region)
    for cell in np.flatnonzero(kitchen.terrain == FLOOR):
        for direction in range(4):
            touch[kitchen.ahead[direction, cell]] |= region[cell]
    onions, tomatoes = choose_recipe(kitchen)
    sources = np.full(4, -1)
    for item, terrain in ((rules.ONION, ONIONS), (rules.TOMATO, TOMATOES), (rules.DISH, DISHES)):
        sources[item] = terrain
    return Plan(region, touch, sources, onions, tomatoes)


def label_regions(kitchen: Kitchen) -> np.ndarray:
    """Returns the set (cells,) int64 of the region of each floor cell, one bit each; 0 of other cells."""
    region = np.zeros(kitchen.terrain.size, np.int64)
    number = 0
    for start in np.flatnonzero(kitchen.terrain == FLOOR):
        if region[start]:
            continue
        waiting, label = [start], np.int64(1 << number)
        number += 1
        while waiting:
            cell = waiting.pop()
            region[cell] = label
            waiting += [each for each in kitchen.goal[:4, cell] if not region[each]]
    return region


def choose_recipe(kitchen: Kitchen) -> tuple[int, int]:
    """Returns the onions and tomatoes of the soup that pays most for each step, by a rough count of the steps."""
    best: Any = (-1.0, (INGREDIENTS, 0))
    for onions in range(INGREDIENTS + 1):
        for tomatoes in range(INGREDIENTS + 1 - onions):
            needs = [(onions, ONIONS), (tomatoes, TOMATOES)]
            if onions + tomatoes == 0 or any(count and terrain not in kitchen.terrain for count, terrain in needs):
                continue
            if kitchen.automatic and onions + tomatoes < INGREDIENTS:
                continue
            soup = SOUP + onions + 4 * tomatoes
            steps = float(kitchen.cook_time[soup]) + STEPS * (onions + tomatoes + 1)
            best = max(best, (float(kitchen.payoff[soup]) / steps, (onions, tomatoes)))
    return best[1]
