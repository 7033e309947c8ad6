"""Evaluation of language policies by win rates: how often their answers are preferred to those of a reference.

The prompts are held out from training.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from marl_engine.capabilities import TextPreferenceGame
from marl_engine.evaluation.report import WIN_RATES, Artefact, Report, View
from marl_engine.evaluation.returns import SEED, mean_and_error
from marl_engine.evaluation.scores import score_of
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.language.generation import Completions, LanguagePolicy, complete
from marl_engine.responders.preference.referee import Referee
from marl_engine.runners import LOCAL
from marl_engine.types import Metrics, Policy, Profile, Runner

CERTAINTY = 1.96  # standard errors in an interval of 95 %
BATCH = 32  # answers generated in one batch


class Sample(NamedTuple):
    """An answer, and that of the reference to the same prompt."""

    prompt: str
    answer: str
    reference: str
    chance: float  # probability that the answer is preferred to that of the reference


def held_out_numbers(game: TextPreferenceGame, episodes: int) -> Tensor:
    """Returns the numbers (N,) of held-out prompts, repeated in turn."""
    return game.train_prompts + torch.arange(episodes) % (len(game.texts) - game.train_prompts)


class Batch(NamedTuple):
    """Prompts that a policy answers in one batch, a job: their numbers and seeds, (N,) each."""

    policy: Policy
    numbers: Tensor
    seeds: Tensor


def complete_batch(batch: Batch) -> Completions:
    """Returns the answers of a batch."""
    return complete(*batch)


def complete_held_out(
    game: TextPreferenceGame, policy: Policy, episodes: int, device: str, stream: int = 0, runner: Runner = LOCAL
) -> list[Completions]:
    """Returns answers to held-out prompts in batches, each a job; they are the same in every evaluation.

    Policies that are compared need different numbers `stream`, so that their random numbers are independent.
    """
    numbers, seeds = held_out_numbers(game, episodes).to(device), derive_seeds(SEED + stream, episodes, device)
    pieces = zip(numbers.split(BATCH), seeds.split(BATCH), strict=True)
    return runner.map(complete_batch, [Batch(policy, *piece) for piece in pieces])


def make_referee(game: TextPreferenceGame, runner: Runner) -> Referee:
    """Returns a referee whose comparisons are jobs of the size of batches, if the judge can be asked in jobs."""
    return Referee(game, False, torch.Generator(), BATCH, runner)


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

    def __init__(
        self, game: TextPreferenceGame, reference: Profile, episodes: int, device: str, runner: Runner = LOCAL
    ):
        self.game, self.reference, self.episodes, self.device = game, reference, episodes, device
        self.runner = runner
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

        Each profile answers twice, so that on the diagonal independent answers are compared.
        """
        numbers, referee = held_out_numbers(self.game, self.episodes), make_referee(self.game, self.runner)
        texts = [
            [texts_of(self._complete(profile, stream=2 * place + turn)) for turn in (0, 1)]
            for place, profile in enumerate(profiles)
        ]
        return [
            [mean_and_error(referee.compare(numbers, row[0], column[1]).double()) for column in texts] for row in texts
        ]

    def _measure(self, profile: Profile) -> tuple[Metrics, list[Sample]]:
        if self.reference_completions is None:
            self.reference_completions = self._complete(self.reference, stream=1)
        answers = self._complete(profile, stream=0)
        return measure_win_rate(self.game, profile, self.reference, answers, self.reference_completions, self.runner)

    def _complete(self, profile: Profile, stream: int) -> list[Completions]:
        return complete_held_out(self.game, profile[0], self.episodes, self.device, stream, self.runner)


def headline(metrics: Metrics, episodes: int) -> tuple[str, str]:
    """Returns the win rate, and a line with its interval and other numbers."""
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
    for sample in samples:
        prompt = "\n\n".join(f"**{part}**" for part in sample.prompt.split("\n\n"))
        lines += [prompt, "", f"before: {sample.reference}", "", f"after ({sample.chance:.2f}): {sample.answer}", ""]
    return "\n".join(lines)


def texts_of(batches: Sequence[Completions]) -> list[str]:
    """Returns the texts of several batches."""
    return [text for batch in batches for text in batch.texts]


def measure_win_rate(
    game: TextPreferenceGame,
    profile: Profile,
    reference: Profile,
    answers: Sequence[Completions],
    reference_answers: Sequence[Completions],
    runner: Runner = LOCAL,
) -> tuple[Metrics, list[Sample]]:
    """Returns metrics and all samples.

    The metrics are the win rate against the reference with its 95 % interval, the win rate at equal length, the KL
    divergence from the reference, and the mean lengths of answers. Both sides' answers are those of
    `complete_held_out`, with different `stream`s.
    """
    policy, reference_policy = cast(LanguagePolicy, profile[0]), cast(LanguagePolicy, reference[0])
    numbers = held_out_numbers(game, sum(len(batch.texts) for batch in answers))
    texts, reference_texts = texts_of(answers), texts_of(reference_answers)
    chances = make_referee(game, runner).compare(numbers, texts, reference_texts).double().numpy()
    lengths = [
        np.concatenate([batch.mask.sum(-1).cpu().numpy() for batch in batches])
        for batches in (answers, reference_answers)
    ]
    rates, kl = summarise_wins(chances, numbers.numpy()), kl_divergence(policy, reference_policy, answers)
    metrics = {f"win_rate/reference{name}": number for name, number in rates.items()}
    metrics["win_rate/reference/length_controlled"] = length_controlled_rate(chances, lengths[0] - lengths[1])
    metrics |= {f"kl/reference{name}": number for name, number in kl.items()}
    metrics |= {"length": float(lengths[0].mean()), "length/reference": float(lengths[1].mean())}
    columns = zip(numbers.tolist(), texts, reference_texts, chances.tolist(), strict=True)
    return metrics, [Sample(game.texts[number], *values) for number, *values in columns]


def summarise_wins(chances: np.ndarray, groups: np.ndarray) -> Metrics:
    """Returns the mean of win probabilities (N,) with its standard error and 95 % interval.

    Answers to the same prompt have the same number in `groups` (N,), and count as one observation.
    """
    means = np.array([chances[groups == group].mean() for group in np.unique(groups)])
    error = float(means.std(ddof=1) / len(means) ** 0.5) if len(means) > 1 else 0.0
    mean = float(means.mean())
    low, high = max(0.0, mean - CERTAINTY * error), min(1.0, mean + CERTAINTY * error)
    return {"": mean, "/stderr": error, "/low": low, "/high": high}


def length_controlled_rate(chances: np.ndarray, differences: np.ndarray) -> float:
    """Returns the win rate at equal length, from win probabilities (N,) and differences of length (N,).

    It is estimated by logistic regression: P = sigma(a + b * tanh(difference / deviation)), and the result is sigma(a)
    (Dubois et al. 2024, arXiv:2404.04475). A weak penalty on a and b keeps them finite if every answer wins.
    """
    from scipy.optimize import minimize

    unit = np.tanh(differences / (differences.std() or 1.0))

    def loss(theta: np.ndarray) -> float:
        logit = theta[0] + theta[1] * unit
        return float((np.logaddexp(0, logit) - chances * logit).sum() + 0.01 * theta @ theta)

    return float(1 / (1 + np.exp(-minimize(loss, np.zeros(2)).x[0])))


@torch.no_grad()
def kl_divergence(policy: LanguagePolicy, reference: LanguagePolicy, batches: Sequence[Completions]) -> Metrics:
    """Returns KL(policy || reference) of whole answers in nats, and its standard error.

    It is the mean of log pi - log reference over the policy's answers.
    """
    log_ratios = []
    for batch in batches:
        reference_log_prob = (reference.log_probs(batch.rows, batch.tokens) * batch.mask).sum(-1)
        log_ratios.append(batch.log_prob.sum(-1) - reference_log_prob)
    mean, error = mean_and_error(torch.cat(log_ratios))
    return {"": mean, "/stderr": error}
