"""Evaluates policies once in all information sets of a game, so that many turns can be played without calling
them.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from marl_engine.capabilities import TabulatedGame, capabilities_of
from marl_engine.numerics.distributions.categorical import WIDE
from marl_engine.policies.mixtures.population import MixturePolicy
from marl_engine.policies.strategy import mean_strategy
from marl_engine.types import Game, Policy, Profile


def tabulated_game(game: Game, profile: Profile, decisions: int) -> TabulatedGame | None:
    """The game, if so many decisions of a profile are better made from a table of logits; else None.

    That is where a table has fewer rows than the seats would ask for. Distributions over more than WIDE actions, and
    those on a GPU, are sampled in another way than the game samples them.
    """
    if not all(policy.tabular for policy in profile):
        return None
    able = capabilities_of(game).tabulated
    if able is None or able.actions > WIDE or torch.device(able.device).type != "cpu":
        return None
    return able if len(able.legal) <= decisions * able.players else None


def tabulate_logits(game: TabulatedGame, profile: Profile) -> Tensor:
    """Returns logits (I + P, A) in all information sets, followed by those of each seat when others move."""
    parts = [
        ask_everywhere(game, policy, seat, int(begin), int(end))
        for seat, (policy, (begin, end)) in enumerate(zip(profile, pairwise(game.form.begin), strict=True))
    ]
    return torch.cat([part[:-1] for part in parts] + [part[-1:] for part in parts])


def ask_everywhere(game: TabulatedGame, policy: Policy, seat: int, begin: int, end: int) -> Tensor:
    """Returns logits (end - begin + 1, A) of a policy in a seat's information sets, and when others move (last)."""
    if isinstance(policy, MixturePolicy):
        logits = torch.full((end - begin, game.actions), -torch.inf)
        strategy = torch.from_numpy(mean_strategy(game, policy, seat))
        logits[torch.from_numpy(game.legal[begin:end])] = strategy.log().float()
        return torch.cat([logits, torch.zeros(1, game.actions)])
    numbers = torch.cat([torch.arange(begin, end), torch.tensor([-1])])
    legal = torch.cat([torch.from_numpy(game.legal[begin:end]), torch.ones(1, game.actions, dtype=torch.bool)])
    rows = policy.encode(numbers[:, None].int(), torch.full_like(numbers, seat))
    distribution: Any = policy(rows, legal)[0]
    return distribution.logits
