"""Seconds that a training step of Nash-MD on a language model takes, here and with TRL's NashMDTrainer, in turn.

The same model, prompts, chat template, adapters (rank 16 on all linear layers, alpha 16), numbers of prompts and of
tokens: in a step each side writes an answer by the policy and one by the mixture to each prompt, has them compared at
next to no cost, and makes one gradient step. Answers are counted that way, two to a prompt. TRL 1.13 is the last one
with the trainer. As it comes it computes activations again for the gradient, and so does this engine beside it; every
token of its mixture reads the whole text again, and of its policy too. `--setting plain` keeps the activations on both
sides; `cached` lets the peer cache, which its mixture's two models share, so that they are no mixture. It runs in an
environment of its own (`make peers`). The last line is JSON; a ratio above 1 means that this engine leads.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from side_by_side import ROOT, Row, ask, last_line, require, show

ENVIRONMENT, SCRIPT, PEER = "trl", "trl_nash_md.py", "TRL 1.13"
PROMPTS = ROOT / "games" / "preference" / "prompts.txt"
RANK, MIXTURE, PULL = 16, 0.125, 0.1
SETTINGS = {"defaults": "as it comes", "plain": "activations kept", "cached": "cache on (no mixture)"}


class Even:
    """A game of prompts whose judge costs next to nothing: the answer that is later in the alphabet is better."""

    players, symmetric, device = 2, True, "cpu"

    def __init__(self, texts: Sequence[str]):
        self.chats = self.texts = list(texts)
        self.train_prompts = len(texts)

    def prefers(self, numbers: Any, firsts: Sequence[str], seconds: Sequence[str]) -> list[float]:
        """1 or 0, and 1/2 for the same answer."""
        return [0.5 * ((one > other) + (one >= other)) for one, other in zip(firsts, seconds, strict=True)]


def ours(options: argparse.Namespace) -> dict[str, Any]:
    """What the peer's script measures, in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--alone", *sys.argv[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"ours failed: {done.stderr.strip().splitlines()[-1]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def alone(options: argparse.Namespace) -> dict[str, Any]:
    """Steps of this engine: seconds of each after the first, answers a second, peak memory."""
    import torch

    from marl_engine.policies.language.transformer import TransformerSpec
    from marl_engine.responders.preference.responder import PreferenceResponder
    from solvers.mirror_descent.nash_md import NashMD

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    texts = [line for line in PROMPTS.read_text().splitlines() if line]
    game = Even(texts)
    again = options.setting == "defaults"
    network = TransformerSpec(rank=options.lora, alpha=RANK, length=options.tokens, gradient_checkpointing=again)
    profile = network.profile(game)
    for policy in profile:
        policy.ends = ()  # every answer has as many tokens, as with the peer
    responder = PreferenceResponder(game, network, options.seed, prompts=options.batch, answers=1, opponents=1)
    steps = NashMD(MIXTURE / PULL, PULL).solve(profile, responder)
    next(steps)
    seconds = []
    for _ in range(options.steps):
        start = perf_counter()
        next(steps)
        seconds.append(perf_counter() - start)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"seconds": seconds, "peak_bytes": int(peak.split()[1]) * 1024}


def theirs(options: argparse.Namespace, model: Path) -> dict[str, Any]:
    """What the peer measures."""
    arguments = ["--model", model, "--prompts", PROMPTS, "--batch", options.batch, "--tokens", options.tokens]
    arguments += ["--steps", options.steps, "--threads", options.threads, "--lora", options.lora]
    return ask(ENVIRONMENT, SCRIPT, *arguments, "--seed", options.seed, "--setting", options.setting)


def compared(mine: list[dict[str, Any]], other: list[dict[str, Any]], options: argparse.Namespace) -> list[Row]:
    """Rows of speed and of memory."""
    rates = [2 * options.batch / median(each for turn in turns for each in turn["seconds"]) for turns in (mine, other)]
    peaks = [max(turn["peak_bytes"] for turn in turns) / 1e9 for turns in (mine, other)]
    case = f"{options.batch} prompts, {options.tokens} tokens, rank {options.lora or 'of all weights'}"
    peer = f"{PEER}, {SETTINGS[options.setting]}"
    return [
        Row(f"{case}: a training step", peer, rates[0] / rates[1], *rates, "answers/s"),
        Row(f"{case}: peak memory", peer, peaks[1] / peaks[0], *peaks, "GB"),
    ]


def main() -> None:
    """Measures, prints the table, and ends with the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="prompts in a step (default 8)")
    parser.add_argument("--tokens", type=int, default=32, help="of an answer (default 32)")
    parser.add_argument("--steps", type=int, default=2, help="timed in a turn, after one to warm up (default 2)")
    parser.add_argument("--repeats", type=int, default=1, help="turns of each engine (default 1)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lora", type=int, default=RANK, help="rank (default 16); 0: all weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--setting", default="defaults", choices=list(SETTINGS), help="of the peer (its defaults)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(alone(options)))
        return
    require([ENVIRONMENT])
    from marl_engine.policies.language.models import find_packaged_model, load_gguf, unpacked_folder

    file = Path(find_packaged_model())
    load_gguf(file)  # unpacks it
    model = unpacked_folder(file)
    mine, other = [], []
    for _ in range(options.repeats):
        mine.append(ours(options))
        other.append(theirs(options, model))
    rows = compared(mine, other, options)
    show("Nash-MD on SmolLM2-135M-Instruct", "peer", rows)
    print(last_line("nash_md_speed", rows))


if __name__ == "__main__":
    main()
