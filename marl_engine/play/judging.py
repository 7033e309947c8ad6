"""Comparisons: a person says which of two answers to a prompt is better, and a file keeps what was said.

Each line has the columns {prompt, first, second, preferred} that judges are trained on, and besides who wrote the
answers and who judged them. Sides are drawn at random.
"""

import threading
from pathlib import Path
from random import Random
from typing import Any

import torch

from marl_engine.capabilities import capabilities_of
from marl_engine.errors import Refused
from marl_engine.play.messages import Message, Prefer
from marl_engine.policies.language.generation import complete
from marl_engine.runs.play_records import PERSON, append_line
from marl_engine.runs.players import Player
from marl_engine.types import Policy

CHANCES = {"first": 1.0, "second": 0.0, "equal": 0.5}
ATTEMPTS = 8  # prompts that are tried until two answers differ
GENERATION = threading.Lock()  # models share weights and caches, so one session generates at a time


class Judging:
    """Comparisons of answers to training prompts, without end. The rival of the trained policy answers too."""

    slow, pace, over = True, 0.0, False

    def __init__(self, player: Player, file: Path, *, name: str, seed: int, rival: str = "trained"):
        game = capabilities_of(player.game).text_preference
        assert game is not None
        self.game, self.file, self.judge, self.random = game, file, f"{PERSON}{name}", Random(seed)
        rivals: dict[str, tuple[str, Policy]] = {
            "trained": (player.name, player.profile[-1]),
            "initial": (f"{player.name}/initial", player.reference[-1]),
        }
        self.authors = [(player.name, player.profile[0]), rivals[rival]]
        self.number = 0  # comparisons that were made
        self.prompt = 0
        self.answers: list[str] | None = None

    def waits(self) -> bool:
        return self.answers is not None

    def advance(self) -> None:
        """Generates the next two answers."""
        for _ in range(ATTEMPTS):
            self.random.shuffle(self.authors)
            self.prompt = self.random.randrange(self.game.train_prompts)
            answers = [self._answer(policy) for _, policy in self.authors]
            if answers[0] != answers[1]:
                break
        self.answers = answers

    def take(self, message: Message) -> None:
        if not isinstance(message, Prefer):
            raise Refused(f"a comparison takes no message {message.type!r}")
        if self.answers is None or message.number != self.number:
            raise Refused("this comparison is no longer asked for")
        first, second = self.answers
        comparison = {"prompt": self.game.chats[self.prompt], "first": first, "second": second}
        names = [name for name, _ in self.authors]
        preferred = CHANCES[message.answer]
        append_line(self.file, comparison | {"preferred": preferred, "players": names, "judge": self.judge})
        self.answers, self.number = None, self.number + 1

    def scene(self) -> dict[str, Any]:
        return {
            "kind": "judging",
            "prompt": self.game.texts[self.prompt] if self.answers else "",
            "answers": self.answers,
            "number": self.number,
            "over": False,
        }

    @torch.no_grad()
    def _answer(self, policy: Policy) -> str:
        """Returns an answer of a policy to the prompt."""
        with GENERATION:
            device = next(policy.parameters()).device
            number = torch.tensor([self.prompt], device=device)
            seed = torch.tensor([self.random.randrange(2**62)], device=device)
            return str(complete(policy, number, seed).texts[0])
