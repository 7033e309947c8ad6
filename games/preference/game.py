"""Preference games in words: a prompt, two answers, and a judge who says how often the first is better.

Both seats earn what lies above one half, so that the game is symmetric and of constant sum whatever the judge likes
(Munos et al. 2023, arXiv:2312.00886, section 3). It is not stepped: policies that answer are judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from games.preference.judges.raters import SAMPLE, check_antisymmetry
from games.preference.prompts import is_held_out, prompts
from marl_engine.configuration import instantiate, outside
from marl_engine.numerics.checks import check_fields
from marl_engine.policies.language.chats import Chat, transcript


@dataclass
class PromptGame:
    """Prompts to learn from come first, those held out for evaluation after them.

    Raises ValueError where there are no prompts on one of the sides, or no such judge.
    """

    judge: Mapping[str, Any] = field(default_factory=lambda: {"_target_": "games.preference.judges.RaterJudge"})
    prompts: str | None = outside(None)  # a file (.txt, .jsonl, .json, .csv, .parquet), a dataset's folder; null: ours
    held_out: float = 0.2  # the share of prompts that nothing is learned from
    column: str | None = None  # of the file, with texts or chats; null: prompt, or messages
    device: str = "cpu"
    players: int = field(init=False, default=2)
    symmetric: bool = field(init=False, default=True)
    train_prompts: int = field(init=False)  # prompts to learn from: numbers 0, 1, …; the others are held out
    chats: list[Chat] = field(init=False)  # as a model is asked them
    texts: list[str] = field(init=False)  # as a judge reads them
    places: list[int] = field(init=False)  # of each text where it comes from, counted from 1

    def __post_init__(self) -> None:
        check_fields("game", self, "held_out", above=0, below=1)
        every = prompts(self.prompts, self.column)
        aside = [is_held_out(transcript(chat), self.held_out) for chat in every]
        self.train_prompts = aside.count(False)
        if not 0 < self.train_prompts < len(every):
            raise ValueError(
                f"game.prompts: {self.train_prompts} prompts to learn from and {aside.count(True)} held out "
                "are too few; "
                "give more, or another game.held_out"
            )
        order = sorted(range(len(every)), key=aside.__getitem__)
        self.chats, self.places = [every[place] for place in order], [place + 1 for place in order]
        self.texts = [transcript(chat) for chat in self.chats]
        self.judges = instantiate("game.judge", self.judge)
        self.tested = getattr(self.judges, "antisymmetric", False)  # of a class that need not be ours

    def prefers(self, numbers: Tensor, firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
        """How often the first of two answers to prompts (N,) is preferred, (N,). Raises Halted.

        The first comparisons also tell whether the judge favours a place. Raises Refused for one that does.
        """
        prompts = [self.texts[number] for number in numbers.tolist()]
        if not self.tested:
            check_antisymmetry(self.judges, prompts[:SAMPLE], firsts[:SAMPLE], seconds[:SAMPLE])
            self.tested = True
        found: np.ndarray = self.judges.prefers(prompts, firsts, seconds)
        return found

    def costs(self) -> dict[str, float]:
        """What the judge has cost so far, if it counts that."""
        return self.judges.costs() if hasattr(self.judges, "costs") else {}
