"""Compares the speed and memory of Nash-MD training of a language model with TRL's NashMDTrainer.

    python benchmarks/nash_md_speed.py --batch 8 --tokens 32 --setting defaults

Both programs train SmolLM2-135M-Instruct with the same prompts, chat template, LoRA adapters (rank 16 on all linear
layers, alpha 16), batch size and answer length. A training step generates two answers to each prompt, one by the policy
and one by the mixture, compares them by a judge that costs almost nothing, and makes one gradient step. Speed is
answers per second, two to a prompt.

TRL 1.13 is the last version with this trainer. It has three settings: `defaults` uses gradient checkpointing (in
marl_engine too) and generates without a cache of keys and values; `plain` turns gradient checkpointing off in both
programs; `cached` generates with a cache, which TRL's policy and reference then share, so that it samples from a wrong
mixture.

TRL has its own environment (`make peers`). The last line is JSON; a ratio above 1 means that marl_engine is better.
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

from side_by_side import ROOT, Row, format_json, print_table, require_peers, run_peer

ENVIRONMENT, SCRIPT, PEER = "trl", "trl_nash_md.py", "TRL 1.13"
PROMPTS = ROOT / "games" / "preference" / "prompts.txt"
RANK, MIXTURE, MAGNET_WEIGHT = 16, 0.125, 0.1
SETTINGS = {"defaults": "defaults", "plain": "without checkpointing", "cached": "cache on (wrong mixture)"}


class AlphabeticalGame:
    """A game of prompts whose judge costs almost nothing: the answer that is later in the alphabet is better."""

    players, symmetric, device = 2, True, "cpu"

    def __init__(self, texts: Sequence[str]):
        self.chats = self.texts = list(texts)
        self.train_prompts = len(texts)

    def prefers(self, numbers: Any, firsts: Sequence[str], seconds: Sequence[str]) -> list[float]:
        """Returns 1 or 0, and 1/2 for equal answers."""
        return [0.5 * ((first > second) + (first >= second)) for first, second in zip(firsts, seconds, strict=True)]


def run_engine() -> dict[str, Any]:
    """Calls this script with `--alone` in its own process, so that peak memory is that of training."""
    command = [sys.executable, str(Path(__file__).resolve()), "--alone", *sys.argv[1:]]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode != 0:
        raise RuntimeError(f"marl_engine failed: {process.stderr.strip().splitlines()[-1]}")
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return result


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Trains with marl_engine; returns the seconds of each step after the first, and the peak memory in bytes."""
    import torch

    from marl_engine.policies.language.transformer import TransformerSpec
    from marl_engine.responders.preference.responder import PreferenceResponder
    from solvers.mirror_descent.nash_md import NashMD

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    texts = [line for line in PROMPTS.read_text().splitlines() if line]
    game = AlphabeticalGame(texts)
    checkpointing = options.setting == "defaults"
    network = TransformerSpec(
        rank=options.lora, alpha=RANK, length=options.tokens, gradient_checkpointing=checkpointing
    )
    profile = network.profile(game)
    for policy in profile:
        policy.ends = ()  # all answers have the same number of tokens, as in the peer
    responder = PreferenceResponder(game, network, options.seed, prompts=options.batch, answers=1, opponents=1)
    steps = NashMD(MIXTURE / MAGNET_WEIGHT, MAGNET_WEIGHT).solve(profile, responder)
    next(steps)
    seconds = []
    for _ in range(options.steps):
        start = perf_counter()
        next(steps)
        seconds.append(perf_counter() - start)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"seconds": seconds, "peak_bytes": int(peak.split()[1]) * 1024}


def run_trl(options: argparse.Namespace, model: Path) -> dict[str, Any]:
    """Trains with TRL; returns the seconds of each step after the first, and the peak memory in bytes."""
    arguments = ["--model", model, "--prompts", PROMPTS, "--batch", options.batch, "--tokens", options.tokens]
    arguments += ["--steps", options.steps, "--threads", options.threads, "--lora", options.lora]
    return run_peer(ENVIRONMENT, SCRIPT, *arguments, "--seed", options.seed, "--setting", options.setting)


def compare_runs(runs: list[dict[str, Any]], peer_runs: list[dict[str, Any]], options: argparse.Namespace) -> list[Row]:
    """Returns a row for speed and a row for memory."""
    both = (runs, peer_runs)
    rates = [2 * options.batch / median(second for run in program for second in run["seconds"]) for program in both]
    peaks = [max(run["peak_bytes"] for run in program) / 1e9 for program in both]
    case = f"{options.batch} prompts, {options.tokens} tokens, rank {options.lora or 'of all weights'}"
    peer = f"{PEER}, {SETTINGS[options.setting]}"
    return [
        Row(f"{case}: a training step", peer, rates[0] / rates[1], *rates, "answers/s"),
        Row(f"{case}: peak memory", peer, peaks[1] / peaks[0], *peaks, "GB"),
    ]


def main() -> None:
    """Runs the comparison, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="prompts in a step (default 8)")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of an answer (default 32)")
    parser.add_argument("--steps", type=int, default=2, help="steps that are timed, after one to warm up (default 2)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each program (default 1)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lora", type=int, default=RANK, help="rank (default 16); 0: all weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--setting", default="defaults", choices=list(SETTINGS), help="see the top of this file")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(train(options)))
        return
    require_peers([ENVIRONMENT])
    from marl_engine.policies.language.models import find_packaged_model, load_gguf, unpacked_folder

    file = Path(find_packaged_model())
    load_gguf(file)  # unpacks it
    model = unpacked_folder(file)
    runs, peer_runs = [], []
    for _ in range(options.repeats):
        runs.append(run_engine())
        peer_runs.append(run_trl(options, model))
    rows = compare_runs(runs, peer_runs, options)
    print_table("Nash-MD on SmolLM2-135M-Instruct", "peer", rows)
    print(format_json("nash_md_speed", rows))


if __name__ == "__main__":
    main()
