"""How good answers are: how often they are preferred to a reference's, on prompts that nothing was learned from."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.language.generation import Completions, LanguagePolicy, complete
from marl_engine.responders.preference.referee import Referee
from marl_engine.types import Metrics, Policy, Profile

SEED = 2**40  # answers to be scored share no seed with answers to learn from
CERTAINTY = 1.96  # standard errors in an interval of 95 %
BATCH = 32  # answers written side by side


class Sample(NamedTuple):
    """One answer beside that of the reference."""

    prompt: str
    answer: str
    reference: str
    preferred: float  # how often the answer is preferred


def held_out(game: Any, episodes: int) -> Tensor:
    """Numbers (N,) of prompts that are held out, each as often as the next one."""
    return game.train_prompts + torch.arange(episodes) % (len(game.texts) - game.train_prompts)


def complete_held_out(game: Any, policy: Policy, episodes: int, device: str, who: int = 0) -> list[Completions]:
    """Answers to the prompts held out, the same in every evaluation; in batches.

    Policies that are compared with each other need different numbers `who`: with the same random numbers they would
    say the same until they differ, and how often one is preferred to the other is a matter of independent answers.
    """
    numbers, seeds = held_out(game, episodes).to(device), derive_seeds(SEED + who, episodes, device)
    return [
        complete(policy, numbers[start : start + BATCH], seeds[start : start + BATCH])
        for start in range(0, episodes, BATCH)
    ]


def measure_win_rate(
    game: Any, profile: Profile, reference: Profile, theirs: Sequence[Completions], episodes: int, device: str
) -> tuple[Metrics, list[Sample]]:
    """Win rate against the answers of the reference with its interval of 95 %, KL and length; and all answers.

    `theirs` is what `scripts` had the reference write, as somebody else.
    """
    writer, other = profile[0], reference[0]
    assert isinstance(writer, LanguagePolicy)
    assert isinstance(other, LanguagePolicy)
    numbers = held_out(game, episodes)
    mine = complete_held_out(game, writer, episodes, device)
    said, others = ([each for batch in batches for each in batch.texts] for batches in (mine, theirs))
    likes = Referee(game, False, torch.Generator()).ask(numbers, said, others).double().numpy()
    lengths = [np.concatenate([batch.mask.sum(-1).cpu().numpy() for batch in batches]) for batches in (mine, theirs)]
    found = {f"win_rate/reference{name}": number for name, number in rate(likes, numbers.numpy()).items()}
    found["win_rate/reference/length_controlled"] = length_controlled(likes, lengths[0] - lengths[1])
    found |= {f"kl/reference{name}": number for name, number in divergence(writer, other, mine).items()}
    found |= {"length": float(lengths[0].mean()), "length/reference": float(lengths[1].mean())}
    columns = zip(numbers.tolist(), said, others, likes.tolist(), strict=True)
    return found, [Sample(game.texts[number], *rest) for number, *rest in columns]


def rate(likes: np.ndarray, groups: np.ndarray) -> Metrics:
    """The mean of (N,) with its standard error and 95 % interval, by groups (N,) of which each counts as one."""
    means = np.array([likes[groups == group].mean() for group in np.unique(groups)])
    error = float(means.std(ddof=1) / len(means) ** 0.5) if len(means) > 1 else 0.0
    mean = float(means.mean())
    low, high = max(0.0, mean - CERTAINTY * error), min(1.0, mean + CERTAINTY * error)
    return {"": mean, "/stderr": error, "/low": low, "/high": high}


def length_controlled(likes: np.ndarray, longer: np.ndarray) -> float:
    """The win rate (of N comparisons) between answers equally long, by a logistic regression on how much longer (N,).

    P = sigma(a + b * tanh(longer / deviation)), and sigma(a) is the answer (Dubois et al. 2024, arXiv:2404.04475); a
    weak pull on both keeps them finite where every answer wins.
    """
    from scipy.optimize import minimize

    unit = np.tanh(longer / (longer.std() or 1.0))

    def loss(theta: np.ndarray) -> float:
        logit = theta[0] + theta[1] * unit
        return float((np.logaddexp(0, logit) - likes * logit).sum() + 0.01 * theta @ theta)

    return float(1 / (1 + np.exp(-minimize(loss, np.zeros(2)).x[0])))


@torch.no_grad()
def divergence(writer: LanguagePolicy, reference: LanguagePolicy, batches: Sequence[Completions]) -> Metrics:
    """KL(writer || reference) of whole answers in nats: the mean of log pi - log reference, and its standard error."""
    there = [(reference.log_probs(batch.rows, batch.tokens) * batch.mask).sum(-1) for batch in batches]
    moved = torch.cat([batch.log_prob.sum(-1) - each for batch, each in zip(batches, there, strict=True)])
    error = moved.std().item() / len(moved) ** 0.5 if len(moved) > 1 else 0.0
    return {"": moved.mean().item(), "/stderr": error}
