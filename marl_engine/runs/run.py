"""A run: iterates a solver, logs metrics, evaluates, saves, stops and resumes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from math import inf, isfinite
from time import perf_counter, time
from typing import Any

import torch

from marl_engine.capabilities import ExtensiveGame, PopulationSolver, lack_of
from marl_engine.errors import Diverged, Halted, Refused
from marl_engine.evaluation.report import Report
from marl_engine.evaluation.scores import Best, best_of
from marl_engine.interruption import INTERRUPTION, Interrupted
from marl_engine.numerics.state import get_state, set_state
from marl_engine.numerics.state_checks import check_like
from marl_engine.policies.weights import load_profile_state, profile_state
from marl_engine.populations import MatchFile
from marl_engine.runs import checkpoint
from marl_engine.runs.factory import Components
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.saved_weights import EVALUATION, evaluations_of
from marl_engine.types import Metrics, Progress, Work, main_unit

STEPS = (("responder", "learning_rate"), ("solver", "step_size"))  # keys of step sizes


@dataclass
class StopRule:
    """When a run ends by itself."""

    seconds: float | None = None
    nash_conv: float | None = None  # of the profile; only that of extensive games is measured

    def __post_init__(self) -> None:
        for name, limit in (("seconds", self.seconds), ("nash_conv", self.nash_conv)):
            if limit is not None and limit <= 0:
                raise Refused(f"stop.{name} must be above 0, not {limit}")


@dataclass
class RunOptions:
    """The keys of a configuration that do not belong to a part of the run."""

    run: str | None = None
    overwrite: bool = False
    resume: str | None = None
    init: str | None = None
    check: bool = False
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    steps: int | None = None
    iterations: int | None = None
    evaluate_every: int = 50
    save_every: int = 50
    episodes: int = 128
    mirror: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise Refused(f"seed must be from 0 to 2**32 - 1, not {self.seed}")
        for name in ("threads", "steps", "iterations", "evaluate_every", "save_every", "episodes"):
            number = vars(self)[name]
            if number is not None and number < 1:
                raise Refused(f"{name} must be 1 or more, not {number}")


class Run:
    """Iterates the solver of a configuration until a stopping rule applies.

    Raises Refused for a limit on NashConv in a game in which it is not measured.
    """

    def __init__(self, parts: Components, plan: RunOptions, stop: StopRule, folder: RunFolder):
        if stop.nash_conv is not None and (lack := lack_of(parts.game, ExtensiveGame, "stop.nash_conv")):
            raise Refused(f"{lack}; stop this run by steps=, iterations= or stop.seconds=")
        self.parts, self.plan, self.stop, self.folder = parts, plan, stop, folder
        self.iteration = 0
        self.seconds = 0.0  # of earlier sessions
        self.start_time = 0.0  # the time at which this session began
        self.evaluations: list[tuple[int, Metrics]] = []  # by iteration
        self.best: Best | None = None
        self.saved_iteration: int | None = None  # of the newest checkpoint
        self.nash_conv = inf  # the last measured one
        self.work = Work(parts.responder.work)  # spent in all sessions

    @property
    def unit(self) -> str:
        """The unit that `steps` limits: steps of games, or another unit if no game is stepped."""
        return main_unit(self.work)

    @property
    def limited_work(self) -> int:
        """The work done in that unit."""
        return self.work[self.unit]

    def restore(self) -> list[str]:
        """Restores the newest valid checkpoint, or the start if there is none.

        Returns notes on damaged checkpoints and records.
        """
        if not checkpoint.newest_first(self.folder.checkpoints):
            return [*self.folder.truncate_after(0), f"{self.folder.path} has no checkpoint yet"]
        self.iteration, state, damages = self.folder.latest()
        load_profile_state(self.parts.profile, state["profile"])
        check_like(state, dict.fromkeys(self.state(0.0)), "state")
        set_state(self.parts.responder, state["responder"])
        set_state(self.parts.solver, state["solver"])
        torch.set_rng_state(state["torch"])
        self.work = Work(state["work"])
        self.seconds = state["seconds"]
        damages += self.folder.truncate_after(self.iteration)
        self.evaluations = [each for each in evaluations_of(self.folder) if each[0] <= self.iteration]
        self.best = best_of(self.evaluations)
        self.saved_iteration = self.iteration
        return damages

    def state(self, seconds: float) -> dict[str, Any]:
        """Returns the state for a checkpoint, after a number of seconds."""
        self.parts.responder.prepare(self.parts.profile)
        return {
            "profile": profile_state(self.parts.profile),
            "responder": get_state(self.parts.responder),
            "solver": get_state(self.parts.solver),
            "torch": torch.get_rng_state(),
            "work": dict(self.work),
            "seconds": seconds,
        }

    def save(self, seconds: float) -> None:
        """Saves a checkpoint, unless the iteration has been saved."""
        if self.saved_iteration == self.iteration:
            return
        self.folder.save(self.iteration, self.state(seconds), self.best.iteration if self.best else None)
        self.saved_iteration = self.iteration

    def evaluate(self, full: bool = False) -> Report:
        """Returns a report on the present profile."""
        return self.parts.evaluator.evaluate(self.parts.profile, iteration=self.iteration, full=full)

    def evaluate_unless_interrupted(self) -> Metrics:
        """Returns the metrics of a report; none if a signal came before or during the evaluation."""
        if INTERRUPTION.signals:
            return {}
        try:
            with INTERRUPTION.defer(False):
                return self.evaluate().metrics
        except Interrupted:
            if len(INTERRUPTION.signals) > 1:
                raise
            return {}

    def consider(self, metrics: Metrics) -> None:
        """Records an evaluation, and updates which iteration is the best."""
        if metrics:
            earlier = [each for each in self.evaluations if each[0] != self.iteration]
            self.evaluations = [*earlier, (self.iteration, metrics)]
            self.best = best_of(self.evaluations)

    def stop_reason(self, seconds: float) -> str | None:
        """Returns why the run ends, or None if it goes on."""
        if INTERRUPTION.signals:
            return "interrupted"
        if self.plan.steps is not None and self.limited_work >= self.plan.steps:
            return "steps"
        if self.plan.iterations is not None and self.iteration >= self.plan.iterations:
            return "iterations"
        if self.stop.seconds is not None and seconds >= self.stop.seconds:
            return "seconds"
        if self.stop.nash_conv is not None and self.nash_conv <= self.stop.nash_conv:
            return "nash_conv"
        return None

    def run(self, show: Callable[[Mapping[str, float]], None]) -> tuple[str, float]:
        """Iterates until the run ends; returns the reason and the seconds of all sessions. Raises Diverged.

        `show` is called with the record of every iteration.
        """
        start, self.start_time = perf_counter() - self.seconds, time()
        progress = self.parts.solver.solve(
            self.parts.profile, self.parts.responder, self.parts.runner, after=self.iteration
        )
        with INTERRUPTION.defer(), keep_matches(self.parts.population, self.folder):
            self.complete_last_record()
            while (reason := self.stop_reason(perf_counter() - start)) is None:
                since = perf_counter()
                show(self.step(next(progress), start, since))
            self.save(perf_counter() - start)
        return reason, perf_counter() - start

    def complete_last_record(self) -> None:
        """Evaluates the restored iteration if that was due, but a signal ended the evaluation."""
        records = self.folder.records()
        last, now = (int(record["iteration"]) for record in ({"iteration": 0.0}, *records)[-2:]) if records else (0, 0)
        evaluated = any(name.startswith(EVALUATION) for record in records[-1:] for name in record)
        if now == self.iteration and passes_multiple(last, now, self.plan.evaluate_every) and not evaluated:
            evaluation = self.evaluate_unless_interrupted()
            self.consider(evaluation)
            self.folder.replace_last(records[-1] | evaluation_record(evaluation))

    def step(self, progress: Progress, start: float, since: float) -> dict[str, float]:
        """Evaluates, logs and saves one iteration.

        If the evaluation fails, it is still logged and saved. Raises Halted.
        """
        check_metrics(progress, self.folder)
        last, self.iteration = self.iteration, progress.iteration
        self.work.update(progress.work)
        record: dict[str, float] = {"iteration": self.iteration, **self.work, "seconds": perf_counter() - start}
        seconds = perf_counter() - since
        record |= {f"{unit}_per_second": progress.work[unit] / seconds for unit in self.work}
        record |= progress.metrics
        evaluation: Metrics = {}
        try:
            if passes_multiple(last, self.iteration, self.plan.evaluate_every):
                evaluation = self.evaluate_unless_interrupted()
                record |= evaluation_record(evaluation)
                self.consider(evaluation)
        except Halted:
            self.save(perf_counter() - start)
            raise
        finally:
            self.folder.log(record)
        self.nash_conv = (evaluation | progress.metrics).get("nash_conv", self.nash_conv)
        if passes_multiple(last, self.iteration, self.plan.save_every) or (
            self.best and self.best.iteration == self.iteration
        ):
            self.save(perf_counter() - start)
        return record


@contextmanager
def keep_matches(solver: PopulationSolver | None, folder: RunFolder) -> Iterator[None]:
    """A context in which a solver that grows a population keeps its matches in a file of the folder."""
    if solver is None:
        yield
        return
    with closing(MatchFile(folder.path)) as solver.matches:
        yield
    solver.matches = None


def evaluation_record(metrics: Metrics) -> dict[str, float]:
    """Returns the metrics of an evaluation by their names in a record."""
    return {f"{EVALUATION}{name}": number for name, number in metrics.items()}


def check_metrics(progress: Progress, folder: RunFolder) -> None:
    """Raises Diverged if a metric is not finite, naming keys of the configuration that could help."""
    name = next((name for name, number in progress.metrics.items() if not isfinite(number)), None)
    if name is not None:
        config = folder.config()
        keys = [f"{part}.{key}" for part, key in STEPS if config[part].get(key) is not None]
        raise Diverged(
            f"{name} is {progress.metrics[name]} in iteration {progress.iteration}; "
            + (f"try a smaller {' or '.join(keys)}" if keys else "look at the payoffs of the game")
        )


def passes_multiple(last: int, now: int, interval: int) -> bool:
    """Whether a multiple of `interval` lies between `last` (exclusive) and `now` (inclusive)."""
    return now // interval > last // interval
