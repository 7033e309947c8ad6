"""marl-ask: puts questions to a language model trained by a run."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

from marl_engine.commands.process import read_keys, run_command, show_help
from marl_engine.errors import Refused
from marl_engine.numerics.checks import check_number

KEY = re.compile(r"[a-z_]+=\S*")
BATCH = 32  # answers generated in one batch
HELP = """\
marl-ask: puts questions to a language model trained by a run.

Usage: marl-ask RUN QUESTION ... [key=value ...], where RUN is the folder of a run with policy=language.

  marl-ask runs/smol "Are cats or dogs better company?"
  marl-ask runs/smol "Is it cold?" "Why?" samples=3 reference=true
  marl-ask runs/smol greedy=true < questions.txt       # one question per line
  marl-ask runs/smol -- "x=2"                          # everything after -- is a question

Keys
  samples      number of answers to each question (default: 1)
  greedy       true: always take the most probable token; gives one answer
  reference    true: also show the answer of the model before training
  checkpoint   last (default), best, or the iteration of a saved checkpoint
  length       largest number of tokens in an answer (default: as in training)
  temperature  sampling temperature; 1 is the model's own distribution, lower values favour probable answers
               (default: as in training)
  seed         random seed (default: 0)
  device       cpu (default) or cuda

Exit codes: 0 done, 2 refused, 128 + the number of a signal."""


@dataclass
class AskOptions:
    """The keys of the command."""

    samples: int = 1
    greedy: bool = False
    reference: bool = False
    checkpoint: str = "last"
    length: int | None = None
    temperature: float | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_number("samples", self.samples, least=1, whole=True)
        check_number("seed", self.seed, least=0, below=2**32, whole=True)
        if self.greedy and self.samples > 1:
            raise Refused(f"greedy=true has one answer to a question; leave out samples={self.samples}")


def main() -> None:
    """The command. Exit codes: 0 done, 2 refused, 128 + the number of a signal."""
    run_command(ask)


def ask(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit code. Raises Refused."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    words, questions = arguments[:end], list(arguments[end + 1 :])
    if show_help(words, HELP, "the folder of a run, questions and key=value"):
        return 0
    keys = [word for word in words if KEY.fullmatch(word)]
    options = read_keys(keys, AskOptions)
    run, *texts = [word for word in words if word not in keys] or [""]
    if not run:
        raise Refused('say which run, like marl-ask runs/NAME "Why?"')
    questions = [*texts, *questions] or [line.strip() for line in sys.stdin if line.strip()]
    if not questions:
        raise Refused(f'ask something, like marl-ask {run} "Why?"')
    answer(Path(run), questions, options)
    return 0


def answer(run: Path, questions: Sequence[str], options: AskOptions) -> None:
    """Prints each question with its answers. Raises Refused."""
    from marl_engine.commands.command_line.trained_models import load_trained

    changes = {"length": options.length, "temperature": options.temperature}
    trained = load_trained(run, options.checkpoint, questions, options.device, **changes)
    print(f"{run}, iteration {trained.iteration}")
    step = max(1, BATCH // options.samples)
    for start in range(0, len(questions), step):
        numbers = range(start, min(start + step, len(questions)))
        earlier_answers = generate_texts(trained.reference, numbers, options) if options.reference else []
        answers = generate_texts(trained.policy, numbers, options)
        for place, number in enumerate(numbers):
            print(f"\n{questions[number]}")
            for label, texts in (("before", earlier_answers), ("after", answers)):
                for text in texts[place * options.samples : (place + 1) * options.samples]:
                    print(indent(f"{label}: {text}" if options.reference else text, "  "))


def generate_texts(policy: Any, numbers: Sequence[int], options: AskOptions) -> list[str]:
    """Returns answers to questions, `samples` for each in a row. Each answer has its own seed."""
    import torch

    from marl_engine.numerics.rng import derive_seeds
    from marl_engine.policies.language.generation import generate

    each = torch.tensor(numbers).repeat_interleave(options.samples)
    places = each * options.samples + torch.arange(options.samples).repeat(len(numbers))
    seeds = derive_seeds(options.seed, int(places.max()) + 1)[places].to(options.device)
    rows = policy.encode(each[:, None].to(options.device), torch.zeros_like(each))
    return generate(policy, rows, seeds, greedy=options.greedy).texts
