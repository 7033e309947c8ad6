"""The end of a run: last evaluation, summary, pictures, exports and the last lines on the screen."""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from copy import deepcopy
from pathlib import Path
from shlex import quote as quote_word
from shutil import which
from traceback import format_exception_only
from typing import Any

from marl_engine.capabilities import capabilities_of
from marl_engine.errors import Notice, Refused, excerpt
from marl_engine.evaluation.report import Report
from marl_engine.interruption import GRACE, INTERRUPTION, Interrupted
from marl_engine.runs.folder import RunFolder, write_atomically
from marl_engine.runs.run import Run

Records = Sequence[Mapping[str, float]]

SOLVER_METRICS = ("nash_conv", "price_of_anarchy", "gap", "queries")  # metrics of the profile that only solvers measure


def finish(run: Run, reason: str, seconds: float, console: Any) -> None:
    """Evaluates, writes the summary, exports and pictures, and prints where they are."""
    report = evaluate_at_end(run)
    if run.parts.population is not None:
        report = report._replace(artefacts=[*report.artefacts, *run.parts.population.artefacts()])
    with INTERRUPTION.limit(GRACE) if INTERRUPTION.signals else nullcontext():
        records = run.folder.records()
        write_summary(run, report, records, reason, seconds)
        save_artefacts(report, run.folder)
        exports = export_policies(run, report)
        illustrate(run, records)
        print_summary(run, report, solver_metrics(records), seconds, reason, console, exports)


def evaluate_at_end(run: Run) -> Report:
    """Returns a full report, or a short one if a signal has come or comes during the evaluation.

    If the short one takes longer than GRACE seconds, the report has no metrics.
    """
    try:
        if not INTERRUPTION.signals:
            with INTERRUPTION.defer(False):
                return run.evaluate(full=True)
    except Interrupted:
        raise_if_repeated()
    try:
        with INTERRUPTION.limit(GRACE):
            return run.evaluate()
    except Interrupted:
        raise_if_repeated()
    return Report({}, None, ("not evaluated", f"within {GRACE:g} seconds"))


def raise_if_repeated() -> None:
    """Raises Interrupted if there has been more than one signal."""
    if len(INTERRUPTION.signals) > 1:
        raise Interrupted


def write_summary(run: Run, report: Report, records: Records, reason: str, seconds: float) -> None:
    """Writes the results of a run, and closes its folder."""
    run.consider(report.metrics)
    scores = {**solver_metrics(records), **run.parts.costs(), **report.metrics}
    run.folder.summarise(
        {
            **scores,
            "episodes": run.plan.episodes,
            "iterations": run.iteration,
            **run.work,
            "seconds": seconds,
            "started": run.start_time,
            "exit": reason,
            "best": run.best and run.best._asdict(),
        }
    )
    run.folder.close()


def save_artefacts(report: Report, folder: RunFolder) -> None:
    """Writes the files of a report, and removes those of earlier reports for which there is no text now."""
    for each in report.artefacts:
        if each.text is None:
            (folder.path / each.name).unlink(missing_ok=True)
        else:
            write_atomically(folder.path / each.name, each.text)


def export_policies(run: Run, report: Report) -> str:
    """Saves the last and the best policy in the format of another library; returns a line that names both folders.

    Does nothing and returns "" if the policy has no `export_name`, or has not been evaluated. The last policy is saved
    in a folder of that name, the best one in its subfolder best/.
    """
    policy: Any = run.parts.profile[0]
    score = report.score
    if not policy.export_name or score is None:
        return ""
    folder = run.folder.path / policy.export_name
    policy.save(folder)
    with at_best(run) as iteration:
        policy.save(folder / "best")
    best_score = score.value if run.best is None or iteration == run.iteration else run.best.score
    return (
        f"{policy.export_name} {folder} (last, {score.label} {score.value:.3f}), "
        f"{folder / 'best'} (iteration {iteration}, {best_score:.3f})"
    )


@contextmanager
def at_best(run: Run) -> Iterator[int]:
    """A context in which the profile has the weights of the best checkpoint; yields its iteration.

    If that checkpoint is damaged, the profile keeps its last weights.
    """
    from marl_engine.policies.weights import load_profile_state, profile_state
    from marl_engine.runs import checkpoint

    iteration, last = run.iteration, deepcopy(profile_state(run.parts.profile))  # weights are loaded in place
    if run.best is not None and run.best.iteration != run.iteration:
        with suppress(checkpoint.Damaged):
            state = checkpoint.read(run.folder.checkpoints / f"{run.best.iteration:08d}")
            load_profile_state(run.parts.profile, state["profile"])
            iteration = run.best.iteration
    try:
        yield iteration
    finally:
        load_profile_state(run.parts.profile, last)


def solver_metrics(records: Records) -> dict[str, float]:
    """Returns the solver's last distances from its solution, which an evaluation does not measure."""
    last = records[-1] if records else {}
    return {name: number for name, number in last.items() if name.partition("/")[0] in SOLVER_METRICS}


def illustrate(run: Run, records: Records) -> None:
    """Draws curve.png, graphs.png of a team, and replay.gif of the best checkpoint if the game is drawable."""
    from marl_engine.view import graphs, plots, populations

    folder, parts = run.folder, run.parts
    title = str(folder.path)
    plots.save_curve(records, folder.path / "curve.png", title, parts.evaluator.view.panels)
    graphs.save_graphs(records, folder.path / "graphs.png", title)
    populations.save_population(folder.path, title)
    drawable = capabilities_of(parts.game).drawable
    if drawable is None:
        return
    try:
        with at_best(run):
            plots.save_gif(plots.render_game(parts.game, parts.profile), folder.path / "replay.gif")
    except OSError:
        raise
    except Refused as error:
        warnings.warn(Notice(f"no replay.gif: {error}"), stacklevel=2)
    except Exception as error:  # errors of the game's drawing must not end the run
        reason = excerpt("".join(format_exception_only(error)))
        warnings.warn(Notice(f"no replay.gif: {type(parts.game).__name__} cannot be drawn: {reason}"), stacklevel=2)


def print_summary(
    run: Run, report: Report, measured: Mapping[str, float], seconds: float, reason: str, console: Any, exports: str
) -> None:
    """Prints the last lines of a run: headline, files, and commands that go on from here.

    `measured` are the metrics of its solver; those that the evaluation has too are printed once.
    """
    from rich.text import Text

    from marl_engine.view.progress import format_duration

    path, say = run.folder.path, console.print
    number, label = report.headline
    work = "".join(f", {count:,} {unit}" for unit, count in run.work.items())
    summary = f" after {run.iteration:,} iterations{work}, in {format_duration(seconds)}; ended by {reason}"
    say(Text.assemble((number, "bold"), f" {label}{summary}"))
    if distances := [f"{name} {value:.4g}" for name, value in measured.items() if name not in report.metrics]:
        say(", ".join(distances))
    for line in [line for each in report.artefacts for line in each.lines]:
        say(line)
    command = Path(sys.argv[0])
    bare = which("marl-train") is not None
    if (path / "replay.gif").exists():
        say(f"watch   {path / 'replay.gif'}")
    if (path / "graphs.png").exists():
        say(f"graphs  {path / 'graphs.png'}")
    if (path / "population.png").exists():
        say(f"members {path / 'population.png'}")
    for each in report.artefacts:
        if each.text is not None:
            say(f"{each.verb:<7} {path / each.name}")
    if exports:
        say(exports)
    say(f"curve   {path / 'curve.png'}   numbers {path / 'summary.json'}")
    say(f"go on   {'marl-train' if bare else command} resume={quote_word(str(path))}{resume_key(run, reason, seconds)}")
    say(
        f"compare {'tensorboard' if bare else command.with_name('tensorboard')} --logdir {quote_word(str(path.parent))}"
    )


def resume_key(run: Run, reason: str, seconds: float) -> str:
    """Returns the key that doubles the limit by which a run ended; none if it was interrupted, or at NashConv 0."""
    longer = {
        "steps": f" steps={2 * run.limited_work}",
        "iterations": f" iterations={2 * run.iteration}",
        "seconds": f" stop.seconds={max(1, round(2 * seconds))}",
        "nash_conv": f" stop.nash_conv={run.nash_conv / 10:.1g}" if run.nash_conv > 0 else "",
    }
    return longer.get(reason, "")
