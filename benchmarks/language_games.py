"""Compares solvers on a real language model: win rates against the reference, each other, and best responses.

    python benchmarks/language_games.py train --solvers inpo nash_md --seeds 0 1
    python benchmarks/language_games.py table --solvers inpo nash_md --seeds 0 1

There are four actions. `train` fine-tunes SmolLM2-135M-Instruct with every solver in the same game, with the same
number of comparisons, by `marl-train`; it makes one run for each seed, and skips runs that exist. `table` prints a
table of the runs' summaries. `exploit` trains a best response against each run. `meet` generates answers to held-out
prompts and compares all solvers with each other, with their best responses, and with the best single text. The largest
of these win rates is a lower bound on how far a solver can be exploited.

The solver `reward_model` optimises a Bradley-Terry model (games/preference/judges/learned.py) that is fitted once to
comparisons of the reference's answers. The last line is JSON.
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

SOLVERS = {  # keys of `marl-train`
    "nash_md": ["solver=nash_md"],
    "nash_mp": ["solver=nash_prox"],
    "inpo": ["solver=inpo"],
    "spo": ["solver=spo", "solver.magnet_weight=0.02"],  # without a magnet, KL is 61 nats after 1,280 comparisons
    "online_dpo": ["solver=online_dpo"],
    "online_dpo_loose": ["solver=online_dpo", "solver.magnet_weight=0.02"],  # the magnet weight of spo
    "reward_model": ["solver=grpo", "solver.magnet_weight=0.02"],  # rewards in units of their standard deviation
}
RESPONSE = ["solver=best_response", "responder.learning_rate=0.004"]  # without a magnet
TRAIN = Path(sys.executable).with_name("marl-train")
ANSWERS = 120  # of each policy to held-out prompts


def run_folder(options: argparse.Namespace, name: str, seed: int) -> Path:
    """Returns the folder of a run."""
    return Path("runs") / f"{options.game}-{name}-{seed}"


def train(options: argparse.Namespace) -> None:
    """Trains all solvers; skips runs that exist."""
    for seed, name in product(options.seeds, options.solvers):
        game, keys = f"preference/{options.game}", SOLVERS[name]
        if name == "reward_model":
            game = "preference/learned"
            keys = [*keys, f"game.judge.folder={make_reward_model(options)}", "game.judge.kind=bradley_terry"]
        run(run_folder(options, name, seed), [f"game={game}", *keys], seed, options)


def run(path: Path, keys: list[str], seed: int, options: argparse.Namespace, times: int = 1) -> None:
    """Runs or resumes `marl-train`, with `times` as many queries as `--queries`, unless the run is complete."""
    if (path / "summary.json").exists():
        return
    if (path / "checkpoints").exists() and any((path / "checkpoints").iterdir()):
        subprocess.run([TRAIN, f"resume={path}"], check=True)
        return
    limits = [f"steps={times * options.queries}", "iterations=null", f"episodes={ANSWERS}"]
    limits += ["evaluate_every=1000", "save_every=5"]
    keys = [*keys, "policy=language", f"run={path.name}", "overwrite=true", f"seed={seed}", *limits, *options.keys]
    subprocess.run([TRAIN, *keys], check=True)


def make_reward_model(options: argparse.Namespace) -> Path:
    """Fits a Bradley-Terry model to comparisons of the reference's answers, unless it exists; returns its folder."""
    results = Path("runs") / f"{options.game}-judge"
    if not (results / "report.json").exists() and not list(results.glob("*.safetensors")):
        results.mkdir(parents=True, exist_ok=True)
        file = results / "comparisons.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in collect_comparisons(options)))
        subprocess.run([sys.executable, "-m", "games.preference.judges", file, results], check=True)
    return results


def collect_comparisons(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns `--queries` comparisons of the reference's answers to training prompts."""
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
        for group, pair in product(range(8), [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]):
            number, (first, second) = numbers[4 * group], (texts[4 * group + place] for place in pair)
            chance = float(game.prefers(number[None], [first], [second])[0])
            results.append({"prompt": game.texts[number], "first": first, "second": second, "preferred": chance})
    return results


def read_summaries(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Returns the summaries of all complete runs by solver."""
    paths = {
        name: [run_folder(options, name, seed) / "summary.json" for seed in options.seeds] for name in options.solvers
    }
    return {name: [json.loads(path.read_text()) for path in files if path.exists()] for name, files in paths.items()}


def print_summaries(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Prints and returns win rate, KL, length and time of every solver.

    The win rate of `reward_model` is judged by the reward model itself.
    """
    rows = []
    keys = (
        "win_rate/reference",
        "win_rate/reference/length_controlled",
        "kl/reference",
        "length",
        "queries",
        "seconds",
    )
    table = Table("solver", "seeds", "win rate", "at equal length", "KL, nats", "tokens", "queries", "minutes")
    for name, summaries in read_summaries(options).items():
        if summaries:
            numbers = {key: [summary[key] for summary in summaries] for key in keys}
            means = {key: mean(column) for key, column in numbers.items()}
            cells = [format_mean(numbers[key]) for key in keys[:4]]
            cells += [f"{means['queries']:,.0f}", f"{means['seconds'] / 60:.0f}"]
            table.add_row(name, str(len(summaries)), *cells)
            rows.append({"solver": name, **means})
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return rows


def format_mean(numbers: list[float]) -> str:
    """Returns a mean with its standard error as text; "-" if a number is missing (nan)."""
    if np.isnan(numbers).any():
        return "-"
    if len(numbers) < 2:
        return f"{numbers[0]:.3f}"
    return f"{mean(numbers):.3f} ± {stdev(numbers) / len(numbers) ** 0.5:.3f}"


def print_win_rates(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Prints and returns how often the row's answers are preferred to the column's, as means over seeds.

    The last row is the maximum of each column.
    """
    tables, names = [win_rates(options, seed) for seed in options.seeds], [*options.solvers, "reference"]
    screen = Table("preferred to", *names)
    rows = [*names, "the best text", "its best response", "maximum"]
    for number, name in enumerate(rows):
        columns = range(len(names))
        screen.add_row(name, *(format_mean([table[number, column] for table in tables]) for column in columns))
    Console(width=None if sys.stdout.isatty() else 160).print(screen)
    lists = [[[None if np.isnan(rate) else rate for rate in row] for row in table] for table in tables]  # JSON: no NaN
    return [{"solver": name, "wins": [table[number] for table in lists]} for number, name in enumerate(rows)]


def win_rates(options: argparse.Namespace, seed: int) -> np.ndarray:
    """Returns win rates (S + 4, S + 1) against S solvers and the reference.

    The rows are the solvers, the reference, the best text, the best response to each column (nan if it was not
    trained), and the maximum.
    """
    runs = {name: load_run(run_folder(options, name, seed)) for name in options.solvers}
    game = next(components.game for name, components in runs.items() if name != "reward_model")
    reference = next(iter(runs.values())).reference
    policies = [*(components.profile[0] for components in runs.values()), reference[0]]
    answers = [generate_answers(game, policy, stream) for stream, policy in enumerate(policies)]
    referee, numbers = make_referee(game)
    texts = list(dict.fromkeys(text for column in answers for text in column))
    rates = [[float(referee.compare(numbers, row, column).mean()) for column in answers] for row in answers]
    best = [best_text(referee, numbers, texts, column) for column in answers]
    paths = [run_folder(options, f"against-{name}", seed) for name in [*options.solvers, "reference"]]
    responses = [best_response(game, path, column, len(answers)) for path, column in zip(paths, answers, strict=True)]
    table = np.array([*rates, best, responses])
    return np.vstack([table, np.nanmax(table, 0)])


def load_run(path: Path) -> Any:
    """Returns the components of a run, with its last policies."""
    from marl_engine.runs.factory import load_components
    from marl_engine.runs.folder import RunFolder

    return load_components(RunFolder(path))


def generate_answers(game: Any, policy: Any, stream: int) -> list[str]:
    """Returns answers to held-out prompts; other numbers `stream` give independent random numbers."""
    from marl_engine.evaluation.win_rate import complete_held_out

    return [text for batch in complete_held_out(game, policy, ANSWERS, "cpu", stream) for text in batch.texts]


def make_referee(game: Any) -> tuple[Any, Any]:
    """Returns a referee, and the numbers (ANSWERS,) of the held-out prompts."""
    from marl_engine.evaluation.win_rate import held_out_numbers
    from marl_engine.responders.preference.referee import Referee

    return Referee(game, False, None), held_out_numbers(game, ANSWERS)  # type: ignore[arg-type]


def best_response(game: Any, path: Path, answers: list[str], stream: int) -> float:
    """Returns the win rate of a run's best checkpoint against answers; nan if there is no complete run.

    The checkpoint is chosen by one half of the prompts, and the win rate is measured on the other half.
    """
    from marl_engine.policies.weights import load_profile_state
    from marl_engine.runs import checkpoint

    if not (path / "summary.json").exists():
        return np.nan
    profile, half, results = load_run(path).profile, len(answers) // 2, []
    referee, numbers = make_referee(game)
    for folder in checkpoint.newest_first(path / "checkpoints"):
        load_profile_state(profile, checkpoint.read(folder)["profile"])
        likes = referee.compare(numbers, generate_answers(game, profile[0], stream), answers)
        results.append((float(likes[:half].mean()), float(likes[half:].mean())))
    return max(results)[1]


def best_text(referee: Any, numbers: Any, texts: list[str], answers: list[str]) -> float:
    """Returns the win rate of the best constant answer, a lower bound on that of a best response.

    The text is chosen by one half of the prompts, and the win rate is measured on the other half.
    """
    half = len(answers) // 2
    choice_rates, test_rates = (
        referee.compare(
            numbers[part].repeat(len(texts)), [text for text in texts for _ in range(half)], answers[part] * len(texts)
        )
        .view(len(texts), half)
        .mean(1)
        for part in (slice(half), slice(half, 2 * half))
    )
    return float(test_rates[choice_rates.argmax()])


def exploit(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Trains a best response to each run, from the reference, with twice the comparisons; `meet` measures it."""
    for name, seed in product(options.solvers, options.seeds):
        victim = run_folder(options, name, seed)
        keys = [f"game=preference/{options.game}", *RESPONSE, f"solver.opponent={victim}"]
        run(run_folder(options, f"against-{name}", seed), keys, seed, options, times=2)
    return []


ACTIONS = {"train": print_summaries, "table": print_summaries, "meet": print_win_rates, "exploit": exploit}


def main() -> None:
    """Performs the action, and prints a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=list(ACTIONS))
    parser.add_argument("--game", default="sentiment", choices=["sentiment", "conflict"])
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS), choices=list(SOLVERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--queries", type=int, default=640, help="comparisons of each run (default 640)")
    parser.add_argument("--keys", nargs="*", default=[], help="more keys for marl-train")
    options = parser.parse_args()
    if options.action == "train":
        train(options)
    rows = ACTIONS[options.action](options)
    print(json.dumps({"benchmark": f"language_games_{options.action}", "rows": rows}))


if __name__ == "__main__":
    main()
