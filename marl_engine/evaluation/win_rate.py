"""Evaluation of language policies: how often their answers to held-out prompts are preferred to those of a
reference.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from marl_engine.capabilities import TextPreferenceGame
from marl_engine.evaluation.report import WIN_RATES, Artefact, Report, View
from marl_engine.evaluation.returns import mean_and_error
from marl_engine.evaluation.scores import score_of
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.language.generation import Completions, LanguagePolicy, complete
from marl_engine.responders.preference.referee import Referee
from marl_engine.types import Metrics, Policy, Profile

SEED = 2**40  # evaluation shares no seed with training
CERTAINTY = 1.96  # standard errors in an interval of 95 %
BATCH = 32  # answers generated in one batch


class Sample(NamedTuple):
    """An answer, and that of the reference to the same prompt."""

    prompt: str
    answer: str
    reference: str
    preferred: float  # probability that the answer is preferred


def held_out_numbers(game: Any, episodes: int) -> Tensor:
    """Returns the numbers (N,) of held-out prompts, repeated in turn."""
    return game.train_prompts + torch.arange(episodes) % (len(game.texts) - game.train_prompts)


def complete_held_out(game: Any, policy: Policy, episodes: int, device: str, who: int = 0) -> list[Completions]:
    """Returns answers to held-out prompts in batches; they are the same in every evaluation.

    Policies that are compared need different numbers `who`, which give them independent random numbers.
    """
    numbers, seeds = held_out_numbers(game, episodes).to(device), derive_seeds(SEED + who, episodes, device)
    return [
        complete(policy, numbers[start : start + BATCH], seeds[start : start + BATCH])
        for start in range(0, episodes, BATCH)
    ]


class WinRateEvaluator:
    """Measures how often the answers of a profile to held-out prompts are preferred to those of the reference."""

    view = View(
        panels=(WIN_RATES,),
        primary={
            "evaluation/win_rate/reference": ("win rate", ".3f"),
            "win_rate/opponent": ("wins", ".3f"),
        },
        secondary={"kl/reference": "KL {:.1f}", "length": "length {:.0f}"},
    )

    def __init__(self, game: TextPreferenceGame, reference: Profile, episodes: int, device: str):
        self.game, self.reference, self.episodes, self.device = game, reference, episodes, device
        self.reference_completions: list[Completions] | None = None
        self.last: tuple[int | None, tuple[Metrics, list[Sample]]] = None, ({}, [])

    def evaluate(self, profile: Profile, *, iteration: int | None = None, full: bool = False) -> Report:
        """See `Evaluator`."""
        if iteration is None or self.last[0] != iteration:
            self.last = iteration, self._measure(profile)
        metrics, samples = self.last[1]
        artefacts = [Artefact("samples.md", "read", samples_markdown(samples))] if full else []
        return Report(metrics, score_of(metrics), headline(metrics, self.episodes), artefacts)

    def compare(self, profiles: Sequence[Profile]) -> list[list[tuple[float, float]]]:
        """See `Evaluator`.

        Each profile answers twice, so that it is compared with independent answers of its own.
        """
        numbers, referee = held_out_numbers(self.game, self.episodes), Referee(self.game, False, torch.Generator())
        texts = [
            [texts_of(self._complete(profile, who=2 * place + turn)) for turn in (0, 1)]
            for place, profile in enumerate(profiles)
        ]
        return [
            [mean_and_error(referee.compare(numbers, one[0], other[1]).double()) for other in texts] for one in texts
        ]

    def _measure(self, profile: Profile) -> tuple[Metrics, list[Sample]]:
        if self.reference_completions is None:
            self.reference_completions = self._complete(self.reference, who=1)
        return measure_win_rate(
            self.game, profile, self.reference, self.reference_completions, self.episodes, self.device
        )

    def _complete(self, profile: Profile, who: int) -> list[Completions]:
        return complete_held_out(self.game, profile[0], self.episodes, self.device, who)


def headline(metrics: Metrics, episodes: int) -> tuple[str, str]:
    """Returns the win rate, and its interval and other numbers beside it."""
    rate, low, high, even = (
        metrics[f"win_rate/reference{name}"] for name in ("", "/low", "/high", "/length_controlled")
    )
    return f"win rate {rate:.3f}", (
        f"({low:.3f} to {high:.3f}) against where it began, {even:.3f} at equal length, on {episodes} answers to "
        f"prompts held out; KL {metrics['kl/reference']:.1f} nats, {metrics['length']:.1f} tokens (before: "
        f"{metrics['length/reference']:.1f})"
    )


def samples_markdown(samples: Sequence[Sample]) -> str:
    """Returns the answers and those of the reference, unedited, as Markdown."""
    lines = ["# Answers to prompts held out, before and after", ""]
    for each in samples:
        prompt = "\n\n".join(f"**{part}**" for part in each.prompt.split("\n\n"))
        lines += [prompt, "", f"before: {each.reference}", "", f"after ({each.preferred:.2f}): {each.answer}", ""]
    return "\n".join(lines)


def texts_of(batches: Sequence[Completions]) -> list[str]:
    """Returns the texts of several batches."""
    return [text for batch in batches for text in batch.texts]


def measure_win_rate(
    game: Any,
    profile: Profile,
    reference: Profile,
    reference_answers: Sequence[Completions],
    episodes: int,
    device: str,
) -> tuple[Metrics, list[Sample]]:
    """Returns the win rate against the reference with its 95 % interval, KL divergence and lengths; and all samples.

    `reference_answers` are those of `complete_held_out` for the reference, with another number `who`.
    """
    writer, other = cast(LanguagePolicy, profile[0]), cast(LanguagePolicy, reference[0])
    numbers = held_out_numbers(game, episodes)
    own_answers = complete_held_out(game, writer, episodes, device)
    texts, reference_texts = texts_of(own_answers), texts_of(reference_answers)
    likes = Referee(game, False, torch.Generator()).compare(numbers, texts, reference_texts).double().numpy()
    lengths = [
        np.concatenate([batch.mask.sum(-1).cpu().numpy() for batch in batches])
        for batches in (own_answers, reference_answers)
    ]
    metrics = {f"win_rate/reference{name}": number for name, number in rate(likes, numbers.numpy()).items()}
    metrics["win_rate/reference/length_controlled"] = length_controlled(likes, lengths[0] - lengths[1])
    metrics |= {f"kl/reference{name}": number for name, number in divergence(writer, other, own_answers).items()}
    metrics |= {"length": float(lengths[0].mean()), "length/reference": float(lengths[1].mean())}
    columns = zip(numbers.tolist(), texts, reference_texts, likes.tolist(), strict=True)
    return metrics, [Sample(game.texts[number], *values) for number, *values in columns]


def rate(likes: np.ndarray, groups: np.ndarray) -> Metrics:
    """Returns the mean of (N,) with its standard error and 95 % interval.

    Answers to the same prompt have the same number in `groups` (N,), and count as one observation.
    """
    means = np.array([likes[groups == group].mean() for group in np.unique(groups)])
    error = float(means.std(ddof=1) / len(means) ** 0.5) if len(means) > 1 else 0.0
    mean = float(means.mean())
    low, high = max(0.0, mean - CERTAINTY * error), min(1.0, mean + CERTAINTY * error)
    return {"": mean, "/stderr": error, "/low": low, "/high": high}


def length_controlled(likes: np.ndarray, longer: np.ndarray) -> float:
    """Returns the win rate at equal length, by logistic regression on differences of length (N,).

    P = sigma(a + b * tanh(longer / deviation)), and the result is sigma(a) (Dubois et al. 2024, arXiv:2404.04475). A
    weak penalty on a and b keeps them finite if every answer wins.
    """
    from scipy.optimize import minimize

    unit = np.tanh(longer / (longer.std() or 1.0))

    def loss(theta: np.ndarray) -> float:
        logit = theta[0] + theta[1] * unit
        return float((np.logaddexp(0, logit) - likes * logit).sum() + 0.01 * theta @ theta)

    return float(1 / (1 + np.exp(-minimize(loss, np.zeros(2)).x[0])))


@torch.no_grad()
def divergence(writer: LanguagePolicy, reference: LanguagePolicy, batches: Sequence[Completions]) -> Metrics:
    """Returns KL(writer || reference) of whole answers in nats, and its standard error.

    It is the mean of log pi - log reference.
    """
    reference_log_probs = [(reference.log_probs(batch.rows, batch.tokens) * batch.mask).sum(-1) for batch in batches]
    log_ratio = torch.cat(
        [batch.log_prob.sum(-1) - each for batch, each in zip(batches, reference_log_probs, strict=True)]
    )
    error = log_ratio.std().item() / len(log_ratio) ** 0.5 if len(log_ratio) > 1 else 0.0
    return {"": log_ratio.mean().item(), "/stderr": error}
