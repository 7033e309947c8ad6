"""What solvers make of a real language model: win rates against the reference, each other, and best responses.

`train` has every solver fine-tune SmolLM2-135M-Instruct in the same game with the same number of comparisons, by
`marl-train`, a run for each seed (those that are there already are kept). `table` reads their summaries. `exploit`
trains a best response against each of them. `meet` lets all of them answer the prompts held out and compares each
with each, with its best response and with the best text: the most that wins is a lower bound on how far a solver can
be exploited. A one-shot reward model, the Bradley-Terry head of games/learned.py fitted to comparisons of the
reference's answers, is a solver too (`reward_model`).
"""

import argparse
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

SOLVERS = {  # what each asks `marl-train` for
    "nash_md": ["solver=nash_md"],
    "nash_mp": ["solver=nash_prox"],
    "inpo": ["solver=inpo"],
    "spo": [
        "solver=spo",
        "solver.magnet_weight=0.02",
    ],  # with nothing to hold it, it is 61 nats away after 1,280 comparisons
    "online_dpo": ["solver=online_dpo"],
    "online_dpo_loose": ["solver=online_dpo", "solver.magnet_weight=0.02"],  # as loose as those above
    "reward_model": ["solver=grpo", "solver.magnet_weight=0.02"],  # a reward in units of its own spread
}
RESPONSE = ["solver=best_response", "responder.learning_rate=0.004"]  # nothing holds it
TRAIN = Path(sys.executable).with_name("marl-train")
ANSWERS = 120  # to prompts held out, of each policy


def folder(options: argparse.Namespace, name: str, seed: int) -> Path:
    """Where a run is."""
    return Path("runs") / f"{options.game}-{name}-{seed}"


def train(options: argparse.Namespace) -> None:
    """Runs what is not there yet."""
    for seed, name in product(options.seeds, options.solvers):
        extra = [f"game.judge.folder={reward_model(options)}"] if name == "reward_model" else []
        game = "preference/learned" if name == "reward_model" else f"preference/{options.game}"
        kind = ["game.judge.kind=bradley_terry"] if name == "reward_model" else []
        run(folder(options, name, seed), [f"game={game}", *SOLVERS[name], *extra, *kind], seed, options)


def run(path: Path, keys: list[str], seed: int, options: argparse.Namespace, times: int = 1) -> None:
    """One run of `marl-train` with so many `times` the queries, or what is missing of it."""
    if (path / "summary.json").exists():
        return
    if (path / "checkpoints").exists() and any((path / "checkpoints").iterdir()):
        subprocess.run([TRAIN, f"resume={path}"], check=True)
        return
    limits = [f"steps={times * options.queries}", "iterations=null", f"episodes={ANSWERS}"]
    limits += ["evaluate_every=1000", "save_every=5"]
    keys = [*keys, "policy=language", f"run={path.name}", "overwrite=true", f"seed={seed}", *limits, *options.keys]
    subprocess.run([TRAIN, *keys], check=True)


def reward_model(options: argparse.Namespace) -> Path:
    """The folder of a Bradley-Terry model of comparisons of the reference's answers, made once."""
    results = Path("runs") / f"{options.game}-judge"
    if not (results / "report.json").exists() and not list(results.glob("*.safetensors")):
        results.mkdir(parents=True, exist_ok=True)
        file = results / "comparisons.jsonl"
        file.write_text("".join(json.dumps(each) + "\n" for each in comparisons(options)))
        subprocess.run([sys.executable, "-m", "games.preference.judges.trainable", file, results], check=True)
    return results


def comparisons(options: argparse.Namespace) -> list[dict[str, Any]]:
    """As many as a solver asks for, of answers of the reference to the prompts that are learned from."""
    import torch

    from marl_engine.commands.command_line.cli_config import compose_config
    from marl_engine.numerics.rng import derive_seeds
    from marl_engine.policies.language.generation import complete
    from marl_engine.runs.factory import build

    components = build(compose_config("train", [f"game=preference/{options.game}", "solver=rloo", "policy=language"]))
    game, results = components.game, []
    for start in range(0, options.queries // 6, 8):  # six comparisons among four answers
        numbers = (torch.arange(start, start + 8) % game.train_prompts).repeat_interleave(4)
        texts = complete(components.profile[0], numbers, derive_seeds(1000 + start, 32)).texts
        for group, (one, other) in product(range(8), [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]):
            number, first, second = numbers[4 * group], texts[4 * group + one], texts[4 * group + other]
            likes = float(game.prefers(number[None], [first], [second])[0])
            results.append({"prompt": game.texts[number], "first": first, "second": second, "preferred": likes})
    return results


def summaries(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Of the runs that are there."""
    paths = {name: [folder(options, name, seed) / "summary.json" for seed in options.seeds] for name in options.solvers}
    return {name: [json.loads(path.read_text()) for path in each if path.exists()] for name, each in paths.items()}


def table(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Win rate, KL, length and time of every solver; the reward model's win rate is by its own judgement."""
    rows = []
    records = Table("solver", "seeds", "win rate", "at equal length", "KL, nats", "tokens", "queries", "minutes")
    for name, result in summaries(options).items():
        if result:
            keys = ("win_rate/reference", "win_rate/reference/length_controlled", "kl/reference", "length", "queries")
            numbers = [[each[key] for each in result] for key in (*keys, "seconds")]
            cells = [spread_of(each) for each in numbers[:4]]
            records.add_row(name, str(len(result)), *cells, f"{mean(numbers[4]):,.0f}", f"{mean(numbers[5]) / 60:.0f}")
            rows.append(
                {"solver": name, **{key: mean(each) for key, each in zip((*keys, "seconds"), numbers, strict=True)}}
            )
    Console(width=None if sys.stdout.isatty() else 160).print(records)
    return rows


def spread_of(numbers: list[float]) -> str:
    """A mean with its standard error over seeds."""
    if np.isnan(numbers).any():
        return "-"
    if len(numbers) < 2:
        return f"{numbers[0]:.3f}"
    return f"{mean(numbers):.3f} ± {stdev(numbers) / len(numbers) ** 0.5:.3f}"


def meet(options: argparse.Namespace) -> list[dict[str, Any]]:
    """How often the row's answers are preferred to the column's, means over seeds; the last row is the most of each."""
    result, names = [met(options, seed) for seed in options.seeds], [*options.solvers, "reference"]
    records = Table("preferred to", *names)
    rows = [*names, "the best text", "its best response", "the most"]
    for number, name in enumerate(rows):
        records.add_row(name, *(spread_of([wins[number, other] for wins in result]) for other in range(len(names))))
    Console(width=None if sys.stdout.isatty() else 160).print(records)
    tables = [
        [[None if np.isnan(each) else each for each in row] for row in wins] for wins in result
    ]  # JSON has no NaN
    return [{"solver": name, "wins": [wins[number] for wins in tables]} for number, name in enumerate(rows)]


def met(options: argparse.Namespace, seed: int) -> np.ndarray:
    """Wins (S + 4, S + 1) against S solvers and where all began: of all of these, of the best text, of a best response
    trained against each (nothing where there is none), and the most of these.
    """
    settings = {name: saved(folder(options, name, seed)) for name in options.solvers}
    game = next(results.game for name, results in settings.items() if name != "reward_model")
    reference = next(iter(settings.values())).reference
    policies = [*(results.profile[0] for results in settings.values()), reference[0]]
    said = [answers_of(game, policy, who) for who, policy in enumerate(policies)]
    referee, numbers = referee_of(game)
    texts = list(dict.fromkeys(each for answers in said for each in answers))
    tables = [[float(referee.compare(numbers, one, other).mean()) for other in said] for one in said]
    best = [best_text(referee, numbers, texts, answers) for answers in said]
    paths = [folder(options, f"against-{name}", seed) for name in [*options.solvers, "reference"]]
    responses = [best_response(game, path, answers, len(said)) for path, answers in zip(paths, said, strict=True)]
    table = np.array([*tables, best, responses])
    return np.vstack([table, np.nanmax(table, 0)])


def saved(path: Path) -> Any:
    """The setting of a run, with what it has learned."""
    from marl_engine.runs.factory import load_components
    from marl_engine.runs.folder import RunFolder

    return load_components(RunFolder(path))


def answers_of(game: Any, policy: Any, who: int) -> list[str]:
    """Of a policy to the prompts held out; `who` keeps its random numbers apart from those of others."""
    from marl_engine.evaluation.win_rate import complete_held_out

    return [each for batch in complete_held_out(game, policy, ANSWERS, "cpu", who) for each in batch.texts]


def referee_of(game: Any) -> tuple[Any, Any]:
    """Who asks the judge, and the numbers of the prompts that all answer."""
    from marl_engine.evaluation.win_rate import held_out_numbers
    from marl_engine.responders.preference.referee import Referee

    return Referee(game, False, None), held_out_numbers(game, ANSWERS)  # type: ignore[arg-type]


def best_response(game: Any, path: Path, answers: list[str], who: int) -> float:
    """How often the best of a run's last checkpoints wins against half of the answers: the one that wins most often
    against the other half. Nothing without a run.
    """
    from marl_engine.policies.weights import load_profile_state
    from marl_engine.runs import checkpoint

    if not (path / "summary.json").exists():
        return np.nan
    profile, half, results = saved(path).profile, len(answers) // 2, []
    referee, numbers = referee_of(game)
    for _, state in checkpoint.read_newest_first(path / "checkpoints"):
        load_profile_state(profile, state["profile"])
        likes = referee.compare(numbers, answers_of(game, profile[0], who), answers)
        results.append((float(likes[:half].mean()), float(likes[half:].mean())))
    return max(results)[1]


def best_text(referee: Any, numbers: Any, texts: list[str], answers: list[str]) -> float:
    """How often one text, said to every prompt, wins against half of the answers: the one of many that wins most
    often against the other half. Nothing is trained, and it is a lower bound on a best response.
    """
    half = len(answers) // 2
    choices, scored = (
        referee.compare(
            numbers[part].repeat(len(texts)), [each for each in texts for _ in range(half)], answers[part] * len(texts)
        )
        .view(len(texts), half)
        .mean(1)
        for part in (slice(half), slice(half, 2 * half))
    )
    return float(scored[choices.argmax()])


def exploit(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Trains a best response against each, from where all began, by twice the comparisons; `meet` measures it."""
    for name, seed in product(options.solvers, options.seeds):
        victim = folder(options, name, seed)
        keys = [f"game=preference/{options.game}", *RESPONSE, f"solver.opponent={victim}"]
        run(folder(options, f"against-{name}", seed), keys, seed, options, times=2)
    return []


def main() -> None:
    """Does what is asked, and ends with a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["train", "table", "meet", "exploit"])
    parser.add_argument("--game", default="sentiment", choices=["sentiment", "conflict"])
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS), choices=list(SOLVERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--queries", type=int, default=640, help="comparisons of each run (default 640)")
    parser.add_argument("--keys", nargs="*", default=[], help="more keys for marl-train")
    options = parser.parse_args()
    if options.what == "train":
        train(options)
    rows = {"train": table, "table": table, "meet": meet, "exploit": exploit}[options.what](options)
    print(json.dumps({"benchmark": f"language_games_{options.what}", "rows": rows}))


if __name__ == "__main__":
    main()
