"""Evaluates policies once in all information sets of a game, so that many turns can be played without calling
them.
"""

from itertools import pairwise

import torch
from torch import Tensor

from marl_engine.capabilities import TabulatedGame, capabilities_of
from marl_engine.numerics.distributions.categorical import WIDE
from marl_engine.policies.strategy import extract_seat_logits
from marl_engine.types import Game, Profile


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
        extract_seat_logits(game, policy, seat, int(begin), int(end))
        for seat, (policy, (begin, end)) in enumerate(zip(profile, pairwise(game.form.begin), strict=True))
    ]
    return torch.cat([part[:-1] for part in parts] + [part[-1:] for part in parts])
