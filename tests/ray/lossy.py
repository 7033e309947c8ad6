"""Games and jobs that lose their worker once, or fail."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import torch
from toys import Matrix

from marl_engine.policies.language.enumerable import EnumerableLM
from marl_engine.runners.resident import is_worker

PENNIES = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])


def signal_once(folder, number):
    """Sends this process a signal, unless another one has sent itself one for the folder."""
    try:
        (Path(folder) / "lost").touch(exist_ok=False)
        os.kill(os.getpid(), number)
    except FileExistsError:
        pass


@dataclass
class Lossy(Matrix):
    """Sends its process a signal in its eighth step, the first time that a copy of it comes there.

    Each object that is made from a pickled state adds a line to the file `made`.
    """

    folder: str = ""
    number: int = signal.SIGKILL
    steps: int = 0

    def step(self, actions):
        self.steps += 1
        if self.steps == 8 and self.number:
            signal_once(self.folder, self.number)
        return super().step(actions)

    def __setstate__(self, state):
        vars(self).update(state)
        with open(Path(self.folder) / "made", "a") as file:
            file.write(f"{os.getpid()}\n")


@dataclass
class Failing(Matrix):
    """Raises an exception in its third step."""

    payoff: torch.Tensor | None = None
    steps: int = 0
    device: str = "cpu"

    def __post_init__(self):
        self.payoff = PENNIES
        super().__post_init__()

    def step(self, actions):
        self.steps += 1
        if self.steps == 3:
            raise ArithmeticError("the third step")
        return super().step(actions)


class LossyLM(EnumerableLM):
    """Kills its process, if that is a worker, when it first answers in a folder."""

    folder = ""

    def start_decoding(self, rows):
        if is_worker():
            signal_once(self.folder, signal.SIGKILL)
        return super().start_decoding(rows)


@dataclass
class LossyJudge:
    """Likes higher numbers. Kills its process, if that is a worker, when it is first asked in a folder."""

    antisymmetric = pure = True
    folder: str

    def prefers(self, prompts, firsts, seconds):
        if is_worker():
            signal_once(self.folder, signal.SIGKILL)
        return [0.5 + (one - other) / 60 for one, other in zip(firsts, seconds, strict=True)]


def die(argument):
    """Kills its process, if that is a worker."""
    os.kill(os.getpid(), signal.SIGKILL)


def always_north(observation, legal, seat, noise):
    """An entrant of tournaments: moves north."""
    return legal.argmax(-1)


def add_ranks(folder, group):
    """Returns the sum of all ranks plus 1. The last worker kills itself before, the first time in a folder."""
    if group.rank == group.size - 1:
        try:
            (Path(folder) / "lost").touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
    total = torch.tensor([group.rank + 1])
    group.add(total)
    return total.item(), os.getpid()
