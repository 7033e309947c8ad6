"""Population-based training: runs with different settings, of which the worst ones go on from the best.

Jaderberg et al. 2017 (arXiv:1711.09846), with truncation selection. Every `pbt.every` iterations the lowest share of
the members takes the weights and the optimisers of members in the highest share (exploit), with settings that are
changed a little or drawn anew (explore). Rounds are synchronous, so that equal seeds give equal populations with any
runner. Each member has the folder of an ordinary run, and the same command goes on after a stop.
"""

import json
import math
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from marl_engine.commands.command_line.cli_config import FIXED_KEYS, to_dict
from marl_engine.commands.command_line.overrides import parse_overrides
from marl_engine.commands.command_line.preset_files import load_config
from marl_engine.commands.process import FAILED
from marl_engine.commands.sweeps.grid import Job, Train, run_job
from marl_engine.errors import Refused
from marl_engine.evaluation.scores import score_of
from marl_engine.interruption import INTERRUPTION
from marl_engine.numerics.checks import check_fields
from marl_engine.runs import checkpoint
from marl_engine.runs.folder import RunFolder, write_atomically
from marl_engine.types import Runner

FILE = "population.json"
RESAMPLING = 0.25  # probability that a setting is drawn anew rather than changed a little
FACTORS = (0.8, 1.2)  # by which a fraction is changed

Settings = dict[str, Any]  # by key of the configuration
Compose = Callable[[Sequence[str]], Mapping[str, Any]]  # composes the configuration of words of the command line


@dataclass
class PBTOptions:
    """The section `pbt` of a configuration. Raises ValueError for numbers out of range."""

    members: int | None = None  # None: no population-based training
    every: int = 50  # iterations of a round
    share: float = 0.25  # of the members that are replaced, and of those that they go on from

    def __post_init__(self) -> None:
        if self.members is not None:
            check_fields("pbt", self, "members", least=2, whole=True)
        check_fields("pbt", self, "every", least=1, whole=True)
        check_fields("pbt", self, "share", above=0, most=0.5)


class Member(NamedTuple):
    """A member in a round."""

    settings: Settings
    score: float  # at the end of the round; more is better, and -infinity if the run failed
    parent: int  # from which it goes on in the next round: its own number, or that of a better member


class Population:
    """The members of population-based training, in the subfolders 0, 1, … of a folder.

    `choices` has the values that each setting can be drawn from. Raises Refused if the folder has something else.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], choices: Mapping[str, Sequence[Any]], plan: PBTOptions):
        assert plan.members is not None
        self.folder, self.config, self.choices, self.plan = folder, config, choices, plan
        self.size, self.seed = plan.members, int(config["seed"])
        self.rounds: list[list[Member]] = []  # that have ended
        self.settings = self._draw_settings()  # of the round that comes
        self._restore()

    def _draw_settings(self) -> list[Settings]:
        """Returns the first settings: each value as often as every other one, in random combinations."""
        numbers = random.Random(self.seed)
        columns = {}
        for key, values in self.choices.items():
            columns[key] = [values[place % len(values)] for place in range(self.size)]
            numbers.shuffle(columns[key])
        return [{key: column[member] for key, column in columns.items()} for member in range(self.size)]

    def _identity(self) -> str:
        """Returns a text that is equal for two calls of the same training, whatever its length."""
        kept = {key: value for key, value in self.config.items() if key not in ("iterations", "runner", "overwrite")}
        return json.dumps([kept, self.choices, [self.plan.members, self.plan.every, self.plan.share]], sort_keys=True)

    def _restore(self) -> None:
        """Goes on where an earlier call has stopped."""
        file = self.folder / FILE
        if not self.folder.exists() or not any(self.folder.iterdir()):
            return
        saved = json.loads(file.read_text()) if file.is_file() else {}
        if saved.get("identity") != self._identity():
            raise Refused(f"{self.folder} has something else; choose another run=, or replace it with overwrite=true")
        self.rounds = [[Member(*member) for member in each] for each in saved["rounds"]]

    def save(self) -> None:
        """Writes the settings, scores and parents of all rounds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"identity": self._identity(), "rounds": self.rounds}, indent=1)
        write_atomically(self.folder / FILE, text + "\n")

    def jobs(self, iterations: int) -> list[tuple[str, Job]]:
        """Returns the jobs of a round, with headlines: each member trains until a number of iterations.

        Members that were replaced in the last round have the checkpoints of their parents first.
        """
        if self.rounds:
            self._replace(self.rounds[-1])
        jobs = []
        for number, settings in enumerate(self.settings):
            place = self.folder / str(number)
            words = " ".join(f"{key}={format_value(value)}" for key, value in settings.items())
            path = place if (place / "config.yaml").is_file() else None
            name = "/".join(place.parts[1:])
            config = to_dict(load_config(place / "config.yaml")) if path else dict(self.config)
            config |= {"run": name, "iterations": iterations, "seed": self.seed + number}
            jobs.append((f"member {number}, {words}:", Job(str(number), set_keys(config, settings), path)))
        return jobs

    def end_round(self, codes: Sequence[int]) -> list[Member]:
        """Scores the members, saves which will go on from which, and returns them."""
        scores = [self._score(number) if code == 0 else -math.inf for number, code in enumerate(codes)]
        order = sorted(range(self.size), key=lambda number: scores[number])
        count = max(1, int(self.plan.share * self.size))
        numbers = random.Random(f"{self.seed} {len(self.rounds)}")
        parents = {loser: numbers.choice(order[-count:]) for loser in order[:count]}
        members = [
            Member(settings, scores[number], parents.get(number, number))
            for number, settings in enumerate(self.settings)
        ]
        self.rounds.append(members)
        self.save()
        return members

    def _score(self, number: int) -> float:
        score = score_of(RunFolder(self.folder / str(number)).summary())
        return -math.inf if score is None else score.value

    def _replace(self, members: Sequence[Member]) -> None:
        """Gives each member that has a parent its checkpoint and changed settings. Doing so twice changes nothing."""
        numbers = random.Random(f"{self.seed} {len(self.rounds)} settings")
        self.settings = []
        for number, member in enumerate(members):
            settings = dict(members[member.parent].settings)
            if member.parent != number:
                settings = {key: change(value, self.choices[key], numbers) for key, value in settings.items()}
                self._copy_checkpoint(member.parent, number)
            self.settings.append(settings)

    def _copy_checkpoint(self, parent: int, member: int) -> None:
        """Replaces a member's checkpoints by the parent's of this round, unless the member has gone on since."""
        name = f"{len(self.rounds) * self.plan.every:08d}"
        source, target = (self.folder / str(each) / "checkpoints" for each in (parent, member))
        newest = checkpoint.newest_first(target)
        if newest and newest[0].name > name:
            return
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source / name, target / f"{checkpoint.PARTIAL}{name}")
        (target / f"{checkpoint.PARTIAL}{name}").rename(target / name)
        if not (config := self.folder / str(member) / "config.yaml").is_file():  # its first round failed
            shutil.copy(self.folder / str(parent) / "config.yaml", config)


def change(value: Any, choices: Sequence[Any], numbers: random.Random) -> Any:
    """Returns a setting changed a little: a fraction by a factor, and another value to its neighbour among the choices.

    With probability RESAMPLING, it is one of the choices.
    """
    if (value not in choices and not isinstance(value, float)) or numbers.random() < RESAMPLING:
        return numbers.choice(choices)
    if isinstance(value, float):
        return value * numbers.choice(FACTORS)
    place = choices.index(value) + numbers.choice((-1, 1))
    return choices[min(max(place, 0), len(choices) - 1)]


def set_keys(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration with other values of some keys, such as responder.learning_rate."""
    tree = OmegaConf.create(dict(config))
    for key, value in settings.items():
        OmegaConf.update(tree, key, value)
    return to_dict(tree)


def format_value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def read_choices(words: Sequence[str], compose: Compose) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Returns the configuration of the first value of each key, and the values that each key can have.

    Raises Refused for keys of other parts than solver and responder, and for those that a run cannot change.
    """
    overrides = parse_overrides(words)
    varied = {each.key_or_group: list(each.sweep_string_iterator()) for each in overrides if each.is_sweep_override()}
    fixed = [str(each.input_line) for each in overrides if not each.is_sweep_override()]
    for key in varied:
        if not key.startswith(("responder.", "solver.")) or key in FIXED_KEYS:
            raise Refused(f"pbt varies numbers and words of the responder and the solver, not {key}")
    if not varied:
        raise Refused("pbt needs values to begin with, such as responder.learning_rate=1e-4,3e-4,1e-3")
    first = {key: texts[0] for key, texts in varied.items()}
    choices: dict[str, list[Any]] = {}
    for key, texts in varied.items():
        for text in texts:
            config = compose([*fixed, *(f"{each}={value}" for each, value in {**first, key: text}.items())])
            choices.setdefault(key, []).append(OmegaConf.select(OmegaConf.create(dict(config)), key))
    return dict(compose([*fixed, *(f"{key}={value}" for key, value in first.items())])), choices


def train_population(population: Population, iterations: int, train: Train, runner: Runner) -> int:
    """Runs the rounds that are missing; returns 0, or the code of a signal, or 1 if all members have failed."""
    every = population.plan.every
    population.save()
    while len(population.rounds) * every < iterations:
        until = (len(population.rounds) + 1) * every
        jobs, codes = population.jobs(until), [0] * population.size
        for number, (code, text) in runner.complete(partial(run_job, runs=population.folder, train=train), jobs):
            print(text, end="", flush=True)
            if INTERRUPTION.signals:
                return code
            codes[number] = code
        members = population.end_round(codes)
        print_round(population, members, until)
        if all(member.score == -math.inf for member in members):
            print("all members have failed", file=sys.stderr)
            return FAILED
    return 0


def print_round(population: Population, members: Sequence[Member], iterations: int) -> None:
    """Prints the scores of a round, the best first, and who goes on from whom."""
    print(f"\nafter {iterations} iterations:")
    for number, member in sorted(enumerate(members), key=lambda each: -each[1].score):
        words = " ".join(f"{key}={format_value(value)}" for key, value in member.settings.items())
        origin = "" if member.parent == number else f"  -> goes on from member {member.parent}"
        print(f"  {population.folder / str(number)}  score {member.score:.4g}  {words}{origin}")
    print(flush=True)
