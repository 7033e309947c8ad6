"""Preference games with prompts: two answers to a prompt, and a judge who says how often the first is better.

Both seats earn the probability that their answer is preferred, minus one half, so that the game is symmetric and
zero-sum for every judge (Munos et al. 2023, arXiv:2312.00886, section 3). The game has no `step`: policies generate
answers, and `prefers` compares them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from games.preference.judges.raters import SAMPLE, check_antisymmetry
from games.preference.prompts import is_held_out, read_prompts
from marl_engine.capabilities import MeteredGame, missing_members
from marl_engine.configuration import instantiate, outside
from marl_engine.numerics.checks import check_fields
from marl_engine.policies.language.chats import Chat, transcript
from marl_engine.responders.preference.queries import Queries


@dataclass
class PromptGame:
    """A game with prompts and a judge. Training prompts come first, held-out prompts after them.

    Raises ValueError if there are no training prompts or no held-out prompts, and for an invalid judge.
    """

    judge: Mapping[str, Any] = field(default_factory=lambda: {"_target_": "games.preference.judges.RaterJudge"})
    prompts: str | None = outside(
        None
    )  # a file (.txt, .jsonl, .json, .csv, .parquet) or dataset folder; null: built-in
    held_out: float = 0.2  # share of prompts that are held out
    column: str | None = None  # of the file, with texts or chats; null: prompt, or messages
    device: str = "cpu"
    players: int = field(init=False, default=2)
    symmetric: bool = field(init=False, default=True)
    train_prompts: int = field(init=False)  # number of training prompts: 0, 1, …; the others are held out
    chats: list[Chat] = field(init=False)  # prompts for the model
    texts: list[str] = field(init=False)  # prompts for the judge
    places: list[int] = field(init=False)  # position of each prompt in its source, counted from 1

    def __post_init__(self) -> None:
        check_fields("game", self, "held_out", above=0, below=1)
        chats = read_prompts(self.prompts, self.column)
        held_out = [is_held_out(transcript(chat), self.held_out) for chat in chats]
        self.train_prompts = held_out.count(False)
        if not 0 < self.train_prompts < len(chats):
            raise ValueError(
                f"game.prompts: {self.train_prompts} prompts to learn from and {held_out.count(True)} held out "
                "are too few; "
                "give more, or another game.held_out"
            )
        order = sorted(range(len(chats)), key=held_out.__getitem__)
        self.chats, self.places = [chats[place] for place in order], [place + 1 for place in order]
        self.texts = [transcript(chat) for chat in self.chats]
        self.judges = instantiate("game.judge", self.judge)
        self.antisymmetric = getattr(self.judges, "antisymmetric", False)  # users' classes may omit it

    def prefers(self, numbers: Tensor, firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
        """Returns how often the first of two answers to prompts (N,) is preferred, (N,). Raises Halted.

        The first comparisons also test whether the judge favours a position. Raises Refused for a judge that does.
        """
        judge, *texts = self._make_queries(numbers, firsts, seconds)
        return judge.prefers(*texts)

    def list_queries(self, numbers: Tensor, firsts: Sequence[str], seconds: Sequence[str]) -> Queries | None:
        """See `QueryGame`. The first comparisons are tested as by `prefers`, in this process."""
        own_rules = type(self).prefers is not PromptGame.prefers  # of a user's game, which the judge does not know
        pure = getattr(self.judges, "pure", False) and missing_members(self.judges, MeteredGame)
        return self._make_queries(numbers, firsts, seconds) if pure and not own_rules else None

    def _make_queries(self, numbers: Tensor, firsts: Sequence[str], seconds: Sequence[str]) -> Queries:
        """Returns what the judge is to be asked. Tests the first comparisons; raises Refused."""
        prompts = [self.texts[number] for number in numbers.tolist()]
        if not self.antisymmetric:
            check_antisymmetry(self.judges, prompts[:SAMPLE], firsts[:SAMPLE], seconds[:SAMPLE])
            self.antisymmetric = True
        return Queries(self.judges, prompts, firsts, seconds)

    def costs(self) -> dict[str, float]:
        """Returns what the judge has cost so far, if it counts costs."""
        return {} if missing_members(self.judges, MeteredGame) else self.judges.costs()
