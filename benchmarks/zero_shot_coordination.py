r"""Measures coordination with strangers: self-play against fictitious co-play, with partners that neither has met.

    python benchmarks/zero_shot_coordination.py --keys iterations=40 --partners 6 --episodes 16    # the convention game
    python benchmarks/zero_shot_coordination.py --other e3t --other-keys steps=800_000 --response-steps 300_000 \
        --games overcooked overcooked/coordination_ring overcooked/counter_circuit overcooked/forced_coordination
    python benchmarks/zero_shot_coordination.py --draw                      # only redraw picture and table in docs/

For each seed `marl-train game=GAME solver=fcp` trains pairs by self-play, and a best response to their checkpoints.
Partners are then pairs of all other seeds, fully and half trained, a pair of another solver and, in Overcooked,
scripted cooks. Self-play's row is that of the last pairs themselves with the same partners.

BR-Prox (ZSC-Eval) is the return with a partner divided by that of a best response to it. Such a response learns with
the frozen partner for `--response-steps`, from the player of the table that earns most with it, and counts as at least
as good as this player. ZSC-Eval's medians, read off its plot, were reached in 1e7 steps of self-play and 5e7 to 1e8 of
fictitious co-play, with partners that it trained for other tastes.

Runs that have finished are not trained again, and those that were stopped go on. Results are added to
docs/zero_shot_coordination.json. The last line is JSON; a ratio above 1 means that fictitious co-play earns more than
self-play with strangers.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from zero_shot_report import RECORD, draw, make_table, summarise, write_table

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.evaluation.coordination import cross_play_matrix
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.mixtures.population import begin_newcomers
from marl_engine.responders.learners.learner import make_learner
from marl_engine.runners import LOCAL
from marl_engine.runs import load_player
from marl_engine.runs.factory import build
from marl_engine.types import Opponents, Profile
from solvers.zero_shot.partners import SKILLS

ROOT = Path(__file__).parent.parent
LEAST = 1e-6  # smallest return that others are compared with
COOK_RESPONSES = ("cook_100", "cook_50")  # cooks to which best responses learn
OTHER_SEED = 100  # of the pair of another solver


class Partner(NamedTuple):
    """Somebody whom players meet. `group` is what it has in common with others."""

    name: str
    group: str
    profile: Profile
    seed: int | None = None  # whose pair it is; players of this seed do not meet it
    answered: bool = False  # whether a best response to it learns


def name_run(game: str, solver: str, seed: int) -> str:
    """Returns the name of a run's folder."""
    return f"zero_shot_{game.replace('/', '_')}_{solver}_{seed}"


def train(game: str, solver: str, seed: int, keys: list[str]) -> dict[str, float]:
    """Trains a run, or goes on with it, unless it has finished; returns its steps and seconds of processor time."""
    name = name_run(game, solver, seed)
    folder = ROOT / "runs" / name
    costs = folder / "cost.json"
    if not costs.exists():
        command = [Path(sys.executable).parent / "marl-train"]
        resumed = (folder / "checkpoints").is_dir()
        new = [f"game={game}", f"solver={solver}", f"seed={seed}", f"run={name}", *keys]
        command += [f"resume={folder}"] if resumed else new
        before = seconds_of_children()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        steps = json.loads((folder / "summary.json").read_text())["steps"]
        cost = {"steps": steps, "cpu_seconds": seconds_of_children() - before}
        costs.write_text(json.dumps(cost | ({"resumed": True} if resumed else {})))
    result: dict[str, float] = json.loads(costs.read_text())
    return result


def seconds_of_children() -> float:
    """Returns the processor time of the processes that this one has started, and that have ended."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def load_team(game: str, solver: str, seed: int, part: str = "last") -> Profile:
    """Returns the policies of a run."""
    return load_player(ROOT / "runs" / f"{name_run(game, solver, seed)}@{part}").profile


def load_pairs(game: str, seed: int, skill: int, count: int) -> list[Profile]:
    """Returns checkpoints of the first pairs of a seed: the first (0), that in between (1) or the last (2)."""
    return [load_team(game, "fcp", seed, f"member_{SKILLS * number + skill}") for number in range(count)]


def list_partners(game: Any, name: str, plan: argparse.Namespace) -> list[Partner]:
    """Returns all partners. Cooks are those of a kitchen."""
    from games.overcooked import Overcooked
    from games.overcooked.cooks import COOKS, CookPolicy

    partners = []
    for seed in range(plan.seeds):
        for group, skill in (("trained", SKILLS - 1), ("half trained", 1)):
            for number, pair in enumerate(load_pairs(name, seed, skill, plan.partners)):
                answered = skill == SKILLS - 1 and number == 0
                partners.append(Partner(f"seed {seed}, pair {number}, {group}", group, pair, seed, answered))
    if plan.other:
        partners.append(Partner(plan.other, "other solver", load_team(name, plan.other, OTHER_SEED), answered=True))
    if type(game) is Overcooked:
        for cook, skill in COOKS.items():
            profile = [CookPolicy(game.kitchen, skill)] * game.players
            partners.append(Partner(cook, "cooks", profile, answered=cook in COOK_RESPONSES))
    return partners


def learn_response(name: str, start: Profile, partner: Profile, steps: int) -> Profile:
    """Returns a best response to a frozen partner, learned in some steps of games from a profile."""
    schedules = [f"responder.learning_rate={{start:5e-4,end:1e-4,over:{steps}}}"]
    schedules += ["responder.entropy_bonus=0.003", "responder.shaping=0"]
    config = compose_config("train", [f"game={name}", "solver=best_response", "responder.num_envs=128", *schedules])
    learner = make_learner(build(config).responder, 1, begin_newcomers(start))
    opponents, done = Opponents([freeze(partner)]), 0.0
    while done < steps:
        done += learner.learn(opponents).work["steps"]
    return learner.profile


def known(numbers: np.ndarray) -> list[float | None]:
    """Returns numbers (N,) for JSON, which has no nan: None for a partner that was not met."""
    return [None if np.isnan(each) else float(each) for each in numbers]


def measure(name: str, plan: argparse.Namespace) -> dict[str, Any]:
    """Returns the returns of all seeds with their partners, and those of best responses."""
    game, seeds = build(compose_config("train", [f"game={name}"])).game, derive_seeds(2**41, plan.episodes)
    partners = list_partners(game, name, plan)
    profiles = [each.profile for each in partners]
    rows: dict[str, dict[str, Any]] = {}
    best, players = np.full(len(partners), -np.inf), list(profiles)
    for seed in range(plan.seeds):
        response, pairs = load_team(name, "fcp", seed), load_pairs(name, seed, SKILLS - 1, plan.partners)
        met = [number for number, partner in enumerate(partners) if partner.seed != seed]
        returns = np.full((1 + len(pairs), len(partners)), np.nan)
        strangers = [profiles[number] for number in met]
        returns[:, met] = cross_play_matrix(LOCAL, game, [response, *pairs], strangers, seeds)
        rows[str(seed)] = {"fcp": known(returns[0]), "self_play": known(returns[1:].mean(0))}
        for row, player in zip(returns, [response, *pairs], strict=True):
            for number in met:
                if row[number] > best[number]:
                    best[number], players[number] = row[number], player
    own = [cross_play_matrix(LOCAL, game, [each], [each], seeds)[0, 0] for each in profiles]
    responses: list[float | None] = []
    start = process_time()
    for number, partner in enumerate(partners):
        scripted = not list(partner.profile[0].parameters())
        if own[number] > best[number]:
            best[number], players[number] = own[number], players[number] if scripted else partner.profile
        learned = None
        if plan.response_steps and partner.answered:
            response = learn_response(name, players[number], partner.profile, plan.response_steps)
            learned = float(cross_play_matrix(LOCAL, game, [response], [partner.profile], seeds)[0, 0])
            best[number] = max(best[number], learned)
        responses.append(learned)
    return {
        "partners": [each._replace(profile=[])._asdict() for each in partners],
        "rows": rows,
        "own": own,
        "best": best.tolist(),
        "responses": responses,
        "response_seconds": process_time() - start,
        "response_steps": plan.response_steps,
        "episodes": plan.episodes,
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=["convention"], help="presets, such as overcooked")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--partners", type=int, default=2, help="pairs of each seed that are met in the measurement")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--other", help="another solver, of which one pair is a partner, such as e3t")
    parser.add_argument("--other-keys", nargs="*", default=[], help="further keys of marl-train for this solver")
    parser.add_argument("--response-steps", type=int, default=0, help="of a best response; 0: none learns")
    parser.add_argument("--keys", nargs="*", default=[], help="further keys of marl-train")
    parser.add_argument("--draw", action="store_true", help="only redraw the picture and the table")
    plan, console, rows = parser.parse_args(), Console(width=140), []
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for name in [] if plan.draw else plan.games:
        costs = [train(name, "fcp", seed, plan.keys) for seed in range(plan.seeds)]
        if plan.other:
            train(name, plan.other, OTHER_SEED, plan.other_keys)
        record[name] = measure(name, plan) | {"costs": costs}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        console.print(make_table(name, record[name]))
        summary = summarise(record[name])
        ours, theirs = (summary[f"{player}/all"].mean for player in ("fcp", "self_play"))
        unit = "mean return with held-out partners"
        numbers = {"ratio": ours / max(theirs, LEAST), "ours": ours, "theirs": theirs}
        rows.append({"case": name, "peer": "self-play", **numbers, "unit": unit})
    kitchens = {name: each for name, each in record.items() if name.startswith("overcooked")}
    if kitchens:
        draw(kitchens)
        write_table(kitchens)
    print(json.dumps({"benchmark": "zero_shot_coordination", "rows": rows}))


if __name__ == "__main__":
    main()
