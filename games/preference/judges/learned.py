"""A judge that learned from comparisons: python -m games.preference.judges.learned FILE FOLDER trains and saves one.

Both heads stand on a frozen encoder of sentences: the reward of Bradley and Terry (1952), r(a) - r(b), and beside it a
pairwise one that can go in circles, r(a) - r(b) + sum over k of x_k(a) y_k(b) - y_k(a) x_k(b), antisymmetric by its
form (the discs of Balduzzi et al. 2019, arXiv:1901.08106, on text: Zhang et al. 2024, arXiv:2410.02197, section 4).
Departs from the latter in the reward, which is a term of its own here, and in that the encoder does not learn.
"""

import json
import sys
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

from games.preference.judges.comparisons import Comparisons, held_out, read_comparisons
from games.preference.judges.raters import cycles, table
from games.preference.judges.text_scores import check, embedded
from marl_engine.configuration import outside
from marl_engine.errors import Halted

WEIGHTS, REPORT = "heads.safetensors", "report.json"
DISCS = {"pairwise": 8, "bradley_terry": 0}  # by kind of head
HIDDEN = 64
EPOCHS, BATCH, LEARNING_RATE, DECAY = 60, 256, 3e-3, 3.0
WATCHED = 6
ANSWERS = 40  # of a prompt, among which circles are counted


class Head(nn.Module):
    """Features (N, F) of first and of second answers -> log-odds (N,) that the first is better."""

    def __init__(self, features: int, discs: int):
        super().__init__()
        self.discs = discs
        self.trunk = nn.Sequential(nn.Linear(features, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1 + 2 * discs))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.odds(self.trunk(first), self.trunk(second))

    def odds(self, first: Tensor, second: Tensor) -> Tensor:
        """Log-odds (N,) from r, x_1, …, x_K, y_1, …, y_K of both, (N, 1 + 2K)."""
        (reward, x, y), (other, u, v) = (each.split([1, self.discs, self.discs], 1) for each in (first, second))
        return (reward - other)[:, 0] + (x * v - y * u).sum(1)


@dataclass
class LearnedJudge:
    """The judge that a folder has. Raises ValueError for one that has none."""

    antisymmetric: ClassVar[bool] = True
    folder: str = outside()
    kind: str = "pairwise"  # or bradley_terry: the reward that was fitted once

    def __post_init__(self) -> None:
        if self.kind not in DISCS:
            raise ValueError(f"game.judge.kind must be one of {', '.join(DISCS)}, not {self.kind!r}")
        path = Path(self.folder) / WEIGHTS
        if not path.is_file():
            raise ValueError(
                f"game.judge.folder: there is no {path}; "
                "python -m games.preference.judges.learned FILE FOLDER makes one"
            )
        check(["relevance"])
        try:
            weights = load_file(path)
            own = {key.partition(".")[2]: each for key, each in weights.items() if key.partition(".")[0] == self.kind}
            self.head = Head(own["trunk.0.weight"].shape[1], DISCS[self.kind]).double().eval().requires_grad_(False)
            self.head.load_state_dict(own)
        except (SafetensorError, OSError, KeyError, RuntimeError) as error:
            raise ValueError(f"game.judge.folder: {path} is damaged: {error}") from error

    def prefers(self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
        """P(first is better), (N,). Raises Halted where the heads give no number."""
        pairs = list(zip([*prompts, *prompts], [*firsts, *seconds], strict=True))
        different = list(dict.fromkeys(pairs))
        place = {pair: number for number, pair in enumerate(different)}
        seen = self.head.trunk(features([prompt for prompt, _ in different], [answer for _, answer in different]))
        first, second = seen[[place[pair] for pair in pairs]].chunk(2)
        found = self.head.odds(first, second).sigmoid().numpy()
        if not np.isfinite(found).all():
            raise Halted(f"game.judge.folder: the weights in {self.folder} give {found[~np.isfinite(found)][0]}")
        return found


def features(prompts: Sequence[str], answers: Sequence[str]) -> Tensor:
    """The answer's embedding, and its product with the prompt's coordinate by coordinate: (N, 2 * 384) float64.

    Scaled to a mean square of about 1; a sum over the second half is the relevance.
    """
    prompt, answer = (torch.from_numpy(embedded(texts)).double() for texts in (prompts, answers))
    width = answer.shape[1]
    return torch.cat([answer * width**0.5, prompt * answer * width], 1)


def fitted(kind: str, first: Tensor, second: Tensor, preferred: Tensor, seed: int = 0) -> Head:
    """The head of a kind that makes comparisons of features (N, F) likely; cross-entropy, AdamW.

    One comparison in WATCHED is not learned from, but says which epoch was best.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = Head(first.shape[1], DISCS[kind]).double()
    optimiser = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=DECAY)
    order = torch.randperm(len(first), generator=generator)
    watched, learned = order.split([len(order) // WATCHED, len(order) - len(order) // WATCHED])
    best, least = deepcopy(head), float("inf")
    for _ in range(EPOCHS):
        for rows in learned[torch.randperm(len(learned), generator=generator)].split(BATCH):
            loss = binary_cross_entropy_with_logits(head(first[rows], second[rows]), preferred[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            loss = binary_cross_entropy_with_logits(head(first[watched], second[watched]), preferred[watched])
        if loss < least:
            best, least = deepcopy(head), loss.item()
    return best.eval().requires_grad_(False)


def trained(comparisons: Comparisons) -> tuple[dict[str, Head], dict[str, float]]:
    """Both heads, and what they make of comparisons that were held out. Raises ValueError where none are."""
    out = held_out(comparisons)
    if out.all() or not out.any():
        raise ValueError("the comparisons are too much alike to hold some of them out")
    learned, apart = (comparisons.only(np.flatnonzero(kept)) for kept in (~out, out))
    first, second = (features(learned.prompts, texts) for texts in (learned.firsts, learned.seconds))
    heads = {kind: fitted(kind, first, second, torch.from_numpy(learned.preferred)) for kind in DISCS}
    first, second = (features(apart.prompts, texts) for texts in (apart.firsts, apart.seconds))
    report = {"comparisons": float(len(out)), "held_out": float(out.sum())}
    for kind, head in heads.items():
        odds, wanted = head(first, second), torch.from_numpy(apart.preferred)
        sure = wanted != 0.5
        report[f"accuracy/{kind}"] = ((odds > 0) == (wanted > 0.5))[sure].double().mean().item()
        report[f"loss/{kind}"] = -(wanted * logsigmoid(odds) + (1 - wanted) * logsigmoid(-odds)).mean().item()
    return heads, report


def circles(judge: LearnedJudge, comparisons: Comparisons) -> float:
    """The mean over prompts of the share of cyclic triples among their answers; nan without three answers to any."""
    answers: dict[str, dict[str, None]] = defaultdict(dict)
    for prompt, first, second in zip(*comparisons[:3], strict=True):
        answers[prompt] |= {first: None, second: None}
    found = [cycles(table(judge, prompt, list(each)[:ANSWERS])) for prompt, each in answers.items() if len(each) > 2]
    return float(np.mean(found)) if found else float("nan")


def saved(folder: Path, heads: dict[str, Head], report: dict[str, float]) -> None:
    """Writes the weights and the report."""
    weights = {f"{kind}.{name}": each for kind, head in heads.items() for name, each in head.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS)
    numbers = {name: number if np.isfinite(number) else None for name, number in report.items()}  # JSON has no NaN
    (folder / REPORT).write_text(json.dumps(numbers, indent=1) + "\n")


def main(arguments: Sequence[str]) -> int:
    """The command. Exit codes: 0 done, 2 refused."""
    try:
        if len(arguments) != 2:
            raise ValueError(
                "name a file and a folder: python -m games.preference.judges.learned comparisons.jsonl FOLDER"
            )
        check(["relevance"])
        comparisons, folder = read_comparisons(Path(arguments[0])), Path(arguments[1])
        heads, report = trained(comparisons)
        saved(folder, heads, report)
        report["cycles/pairwise"] = circles(LearnedJudge(str(folder)), comparisons)
        saved(folder, heads, report)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for name, number in report.items():
        print(f"{name:24} {number:.4g}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
