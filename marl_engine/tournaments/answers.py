"""Matches of language policies: both entrants answer held-out prompts, and the judge of the game compares the answers.

A deal draws a prompt, and two answers of each entrant, one for each seat. It has two games, between which the entrants
change seats, so that the judge sees the answer of each of them first once. As in training, the payoff of a seat is the
probability that its answer is preferred, minus one half. An answer does not depend on the opponent, so it is generated
once for all matches that a process plays. Policies that travel to a worker are new ones there, with each job.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marl_engine.capabilities import TextPreferenceGame, capabilities_of
from marl_engine.configuration import instantiate
from marl_engine.errors import Refused
from marl_engine.evaluation.win_rate import BATCH
from marl_engine.numerics.rng import mix_bits
from marl_engine.policies.language.generation import complete
from marl_engine.ratings.results import tally_payoffs
from marl_engine.runs.factory import build, local_config, make_profile
from marl_engine.runs.folder import RunFolder
from marl_engine.types import Policy, Profile

SEATS = 2
STREAM = 2**41  # separates the random numbers of seats
KEPT = 512  # stretches of answers that are remembered
REFERENCE = "reference"  # the policy before training
ADAPTER_FILE = "adapter_config.json"  # by which a folder of peft is known


def judges_texts(game: Any) -> bool:
    """Whether the game compares answers."""
    return capabilities_of(game).text_preference is not None


def judge_match(game: TextPreferenceGame, first: Profile, second: Profile, seeds: Tensor) -> np.ndarray:
    """Returns the tally (9,) of two entrants on deals with seeds (D,)."""
    numbers = game.train_prompts + seeds % (len(game.texts) - game.train_prompts)
    keys = tuple(numbers.tolist()), tuple(seeds.tolist())
    payoffs = []  # of the first entrant, in both seatings
    for seat in range(SEATS):
        own, other = generate_texts(first[seat], seat, *keys), generate_texts(second[1 - seat], 1 - seat, *keys)
        chance = game.prefers(numbers, *((own, other) if seat == 0 else (other, own)))
        payoffs.append(chance - 0.5 if seat == 0 else 0.5 - chance)
    return tally_payoffs(np.stack(payoffs), -np.stack(payoffs))


@lru_cache(maxsize=KEPT)
def generate_texts(policy: Policy, seat: int, numbers: tuple[int, ...], seeds: tuple[int, ...]) -> tuple[str, ...]:
    """Returns the answers of a policy in a seat to prompts (D,), from the seeds (D,) of deals."""
    prompts, streams = torch.tensor(numbers), mix_bits(torch.tensor(seeds) + STREAM * (seat + 1))
    return tuple(
        text
        for start in range(0, len(prompts), BATCH)
        for text in complete(policy, prompts[start : start + BATCH], streams[start : start + BATCH]).texts
    )


def load_reference(run: Path) -> Profile:
    """Returns the policies of a run before training."""
    return build(local_config(RunFolder(run))).reference


def is_adapter(path: Path) -> bool:
    """Whether a folder has an adapter that peft saved."""
    return (path / ADAPTER_FILE).is_file()


def load_adapter(path: Path, run: Path, game: Any) -> Profile:
    """Returns the policies that an adapter of peft makes of the model of a run. Raises Refused."""
    section = {**local_config(RunFolder(run))["policy"], "adapter": str(path)}
    try:
        return make_profile(instantiate("policy", section), game)
    except ValueError as error:
        raise Refused(f"{path} cannot enter: {error}") from error
