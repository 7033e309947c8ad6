"""Answers of a learner and of its opponents to prompts, in shards: pure jobs, so that any runner gives the same ones.

An answer is a function of its seed and of the policy; rounding depends on the batch that it is generated in: a shard.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from marl_engine.policies.language.generation import (
    Completions,
    GeometricMixture,
    LanguagePolicy,
    complete,
    join_completions,
)
from marl_engine.policies.weights import policies_equal
from marl_engine.rollout.opponents import draw_members
from marl_engine.types import Opponents, Policy, Runner


class Questions(NamedTuple):
    """S prompts, with seeds for K answers of the learner and M of its opponents to each (M = 0: there are none)."""

    learner: LanguagePolicy
    opponents: Opponents | None
    together: bool  # see `is_mixture_with`
    numbers: Tensor  # (S,) of the prompts
    own_seeds: Tensor  # (S, K) int64
    opposing_seeds: Tensor  # (S, M) int64


def is_mixture_with(learner: LanguagePolicy, opponents: Opponents | None) -> bool:
    """Whether the only opponent is a mixture of the learner and another policy; both then answer in one batch."""
    if opponents is None or len(opponents.members) > 1:
        return False
    components = opponents.members[0][0].components
    return components is not None and policies_equal(components[0], learner)


def answer(questions: Questions) -> tuple[Completions, Completions | None]:
    """Returns answers of the learner, (S * K,), and of its opponents, (S * M,), those to the same prompt in a row."""
    learner, opponents, together, numbers, own_seeds, opposing_seeds = questions
    if opponents is None:
        return complete_each(learner, numbers, own_seeds), None
    if not together:
        return complete_each(learner, numbers, own_seeds), complete_drawn(opponents, numbers, opposing_seeds)
    seeds = torch.cat([own_seeds, opposing_seeds], dim=1)
    places = torch.arange(seeds.numel(), device=seeds.device).view(seeds.shape)
    own_places, opposing_places = places[:, : own_seeds.shape[1]].flatten(), places[:, own_seeds.shape[1] :].flatten()
    components = opponents.members[0][0].components
    assert components is not None
    _, other, weight = components
    both = complete_each(GeometricMixture(learner, other, weight, opposing_places), numbers, seeds)
    return both.select(own_places), both.select(opposing_places)


def answer_in_shards(questions: Questions, size: int | None, runner: Runner) -> tuple[Completions, Completions | None]:
    """Returns what `answer` returns, by a job for each shard of `size` prompts (None: all)."""
    learner, opponents, together, *columns = questions
    pieces = zip(*(column.split(size or len(column)) for column in columns), strict=True)
    results = runner.map(answer, [Questions(learner, opponents, together, *piece) for piece in pieces])
    if len(results) == 1:
        return results[0]
    own = join_completions([first for first, _ in results])
    opposing = [second for _, second in results if second is not None]
    return own, join_completions(opposing) if opposing else None


def encode_prompts(learner: LanguagePolicy, numbers: Tensor, count: int) -> Tensor:
    """Returns the rows of prompts (S,), each `count` times: (S * count, …)."""
    repeated = numbers.repeat_interleave(count)
    return learner.encode(repeated[:, None], torch.zeros_like(repeated))


def complete_each(policy: Policy, numbers: Tensor, seeds: Tensor) -> Completions:
    """Samples an answer to prompts (S,) for each seed (S, K), (S * K,)."""
    return complete(policy, numbers.repeat_interleave(seeds.shape[1]), seeds.flatten())


def complete_drawn(opponents: Opponents, numbers: Tensor, seeds: Tensor) -> Completions:
    """Samples answers for each seed (S, M), all of the member that the prompt draws, (S * M,).

    Rows and tokens are padded to the same length.
    """
    if len(opponents.members) == 1:
        return complete_each(opponents.members[0][0], numbers, seeds)
    member = draw_members(opponents, seeds[:, 0], 0)
    places = [(member == place).nonzero()[:, 0] for place in range(len(opponents.members))]
    parts = [
        complete_each(policies[0], numbers[here], seeds[here])
        for policies, here in zip(opponents.members, places, strict=True)
        if len(here)
    ]
    order = torch.arange(seeds.numel(), device=seeds.device).view(seeds.shape)[torch.cat(places)].flatten()
    return join_completions(parts).select(order.argsort())
