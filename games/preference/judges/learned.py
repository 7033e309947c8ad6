"""A judge that is trained on comparisons.

    python -m games.preference.judges comparisons.jsonl FOLDER    # trains a judge and saves it in FOLDER

There are two heads on top of a frozen sentence encoder, which give the log-odds that answer a is better than b. The
Bradley-Terry head (1952) is r(a) - r(b), with a reward r. The pairwise head can represent cycles: r(a) - r(b) + sum
over k of x_k(a) y_k(b) - y_k(a) x_k(b), which is antisymmetric (disc games, Balduzzi et al. 2019, arXiv:1901.08106; on
texts Zhang et al. 2024, arXiv:2410.02197, section 4). It departs from the latter in that the reward is a separate term
and the encoder is not trained.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from games.preference.judges.comparisons import Comparisons, hold_out
from games.preference.judges.raters import cycles, preference_table
from games.preference.judges.text_scores import check, embed
from marl_engine.configuration import outside
from marl_engine.errors import Halted
from marl_engine.numerics.state import load_weights

WEIGHTS, REPORT = "heads.safetensors", "report.json"
DISCS = {"pairwise": 8, "bradley_terry": 0}  # number of discs, by kind of head
HIDDEN = 64
EPOCHS, BATCH, LEARNING_RATE, DECAY = 60, 256, 3e-3, 3.0
FOLDS = 6  # one comparison in six is not trained on, but selects the best epoch
ANSWERS = 40  # answers of a prompt among which cycles are counted


class Head(nn.Module):
    """Maps features (N, F) of first and second answers to log-odds (N,) that the first is better."""

    def __init__(self, features: int, discs: int):
        super().__init__()
        self.discs = discs
        self.trunk = nn.Sequential(nn.Linear(features, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1 + 2 * discs))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.odds(self.trunk(first), self.trunk(second))

    def odds(self, first: Tensor, second: Tensor) -> Tensor:
        """Returns log-odds (N,) from r, x_1, …, x_K, y_1, …, y_K of both answers, (N, 1 + 2K)."""
        (reward, x, y), (second_reward, u, v) = (
            latent.split([1, self.discs, self.discs], 1) for latent in (first, second)
        )
        return (reward - second_reward)[:, 0] + (x * v - y * u).sum(1)


@dataclass
class LearnedJudge:
    """A judge saved in a folder. Raises ValueError if the folder contains none."""

    antisymmetric: ClassVar[bool] = True
    pure: ClassVar[bool] = True
    folder: str = outside()
    kind: str = "pairwise"  # or bradley_terry: which head is used

    def __post_init__(self) -> None:
        if self.kind not in DISCS:
            raise ValueError(f"game.judge.kind must be one of {', '.join(DISCS)}, not {self.kind!r}")
        path = Path(self.folder) / WEIGHTS
        if not path.is_file():
            raise ValueError(
                f"game.judge.folder: there is no {path}; python -m games.preference.judges FILE FOLDER makes one"
            )
        check(["relevance"])
        try:
            weights = load_file(path)
            own = {key.partition(".")[2]: each for key, each in weights.items() if key.partition(".")[0] == self.kind}
            self.head = Head(own["trunk.0.weight"].shape[1], DISCS[self.kind]).double().eval().requires_grad_(False)
            load_weights(self.head, own, self.kind)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ValueError(f"game.judge.folder: {path} is damaged: {error}") from error

    def prefers(self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
        """Returns P(first is better), (N,). Raises Halted if the result is not finite."""
        pairs = list(zip([*prompts, *prompts], [*firsts, *seconds], strict=True))
        place = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
        latents = self.head.trunk(features([prompt for prompt, _ in place], [answer for _, answer in place]))
        first, second = latents[[place[pair] for pair in pairs]].chunk(2)
        chances = self.head.odds(first, second).sigmoid().numpy()
        if not np.isfinite(chances).all():
            raise Halted(f"game.judge.folder: the weights in {self.folder} give {chances[~np.isfinite(chances)][0]}")
        return chances


def features(prompts: Sequence[str], answers: Sequence[str]) -> Tensor:
    """Returns the answer's embedding, and its elementwise product with the prompt's embedding: (N, 2 * 384) float64.

    Features are scaled to a mean square of about 1. The sum of the second half is the relevance.
    """
    prompt, answer = (torch.from_numpy(embed(texts)).double() for texts in (prompts, answers))
    width = answer.shape[1]
    return torch.cat([answer * width**0.5, prompt * answer * width], 1)


def fit_head(kind: str, first: Tensor, second: Tensor, chances: Tensor, seed: int = 0) -> Head:
    """Trains a head on features (N, F) of first and second answers and P(first is better) (N,).

    The loss is cross-entropy, minimised by AdamW. One comparison in FOLDS is used only to select the best epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = Head(first.shape[1], DISCS[kind]).double()
    optimiser = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=DECAY)
    order = torch.randperm(len(first), generator=generator)
    validation, training = order.split([len(order) // FOLDS, len(order) - len(order) // FOLDS])
    best, least = deepcopy(head), float("inf")
    for _ in range(EPOCHS):
        for rows in training[torch.randperm(len(training), generator=generator)].split(BATCH):
            loss = binary_cross_entropy_with_logits(head(first[rows], second[rows]), chances[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            loss = binary_cross_entropy_with_logits(head(first[validation], second[validation]), chances[validation])
        if loss < least:
            best, least = deepcopy(head), loss.item()
    return best.eval().requires_grad_(False)


def train_heads(comparisons: Comparisons) -> tuple[dict[str, Head], dict[str, float]]:
    """Trains both heads; returns them, and their accuracy and loss on held-out comparisons.

    Raises ValueError if no comparisons, or all of them, are held out.
    """
    is_held_out = hold_out(comparisons)
    if is_held_out.all() or not is_held_out.any():
        raise ValueError("the comparisons are too much alike to hold some of them out")
    training, validation = (comparisons.select(np.flatnonzero(subset)) for subset in (~is_held_out, is_held_out))
    first, second = (features(training.prompts, texts) for texts in (training.firsts, training.seconds))
    heads = {kind: fit_head(kind, first, second, torch.from_numpy(training.chances)) for kind in DISCS}
    first, second = (features(validation.prompts, texts) for texts in (validation.firsts, validation.seconds))
    report = {"comparisons": float(len(is_held_out)), "held_out": float(is_held_out.sum())}
    for kind, head in heads.items():
        odds, target = head(first, second), torch.from_numpy(validation.chances)
        sure = target != 0.5
        report[f"accuracy/{kind}"] = ((odds > 0) == (target > 0.5))[sure].double().mean().item()
        report[f"loss/{kind}"] = -(target * logsigmoid(odds) + (1 - target) * logsigmoid(-odds)).mean().item()
    return heads, report


def measure_cycles(judge: LearnedJudge, comparisons: Comparisons) -> float:
    """Returns the share of cyclic triples among the answers to a prompt, as a mean over prompts.

    The result is nan if no prompt has three answers.
    """
    answers: dict[str, dict[str, None]] = defaultdict(dict)
    for prompt, first, second in zip(*comparisons[:3], strict=True):
        answers[prompt] |= {first: None, second: None}
    shares = [
        cycles(preference_table(judge, prompt, list(each)[:ANSWERS]))
        for prompt, each in answers.items()
        if len(each) > 2
    ]
    return float(np.mean(shares)) if shares else float("nan")


def save_heads(folder: Path, heads: dict[str, Head], report: dict[str, float]) -> None:
    """Writes the weights and the report."""
    weights = {f"{kind}.{name}": value for kind, head in heads.items() for name, value in head.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS)
    numbers = {name: number if np.isfinite(number) else None for name, number in report.items()}  # JSON has no NaN
    (folder / REPORT).write_text(json.dumps(numbers, indent=1) + "\n")
