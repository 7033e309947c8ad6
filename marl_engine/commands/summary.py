"""How a run ends: the last evaluation, the summary, what is drawn and quoted, and the last lines that a person sees."""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from shlex import quote as quote_word
from shutil import which
from typing import Any

from marl_engine.capabilities import capabilities_of
from marl_engine.errors import Notice

OF_SOLVERS = ("nash_conv", "gap", "queries")  # metrics that are about the profile and only a solver knows


def finish(run: Any, reason: str, seconds: float, console: Any) -> None:
    """Evaluates, writes the summary and the pictures, and says where they are."""
    report = run.evaluate(full=True)
    run.consider(report.metrics)
    scores = {**known(run.folder.records()), **run.parts.costs(), **report.metrics}
    run.folder.summarise(
        {
            **scores,
            "episodes": run.plan.episodes,
            "iterations": run.iteration,
            **run.work,
            "seconds": seconds,
            "started": run.started,
            "exit": reason,
            "best": run.best._asdict(),
        }
    )
    run.folder.close()
    save_artefacts(report, run.folder)
    exports = export_policies(run, report)
    illustrate(run)
    show(run, report, seconds, reason, console, exports)


def save_artefacts(report: Any, folder: Any) -> None:
    """Writes the files of a report, and takes away older ones of which there is nothing to write now."""
    from marl_engine.runs.folder import replace

    for each in report.artefacts:
        if each.text is None:
            (folder.path / each.name).unlink(missing_ok=True)
        else:
            replace(folder.path / each.name, each.text)


def export_policies(run: Any, report: Any) -> str:
    """What the last policy and the best one save for other libraries; returns which is which, in words.

    Nothing where the policy has no `export_name`: a folder of that name, and in it best/, is what other policies leave.
    """
    policy, score = run.parts.profile[0], report.score
    if not policy.export_name:
        return ""
    folder = run.folder.path / policy.export_name
    policy.save(folder)
    with at_best(run) as iteration:
        policy.save(folder / "best")
    best = score.value if iteration == run.iteration else run.best.score
    return (
        f"{policy.export_name} {folder} (last, {score.label} {score.value:.3f}), "
        f"{folder / 'best'} (iteration {iteration}, {best:.3f})"
    )


@contextmanager
def at_best(run: Any) -> Iterator[int]:
    """Within it the profile is that of the best checkpoint, or the last where that is damaged; yields its iteration."""
    from marl_engine.policies.weights import load_profile_state, profile_state
    from marl_engine.runs import checkpoint

    iteration, last = run.iteration, deepcopy(profile_state(run.parts.profile))  # weights are loaded in place
    if run.best.iteration != run.iteration:
        with suppress(checkpoint.Damaged):
            state = checkpoint.read(run.folder.checkpoints / f"{run.best.iteration:08d}")
            load_profile_state(run.parts.profile, state["profile"])
            iteration = run.best.iteration
    try:
        yield iteration
    finally:
        load_profile_state(run.parts.profile, last)


def known(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What the solver said of the last profile, and an evaluation does not: how far it is from what it solves."""
    last = records[-1] if records else {}
    return {name: number for name, number in last.items() if name.partition("/")[0] in OF_SOLVERS}


def illustrate(run: Any) -> None:
    """curve.png, and replay.gif of the best checkpoint where the game can draw itself."""
    from marl_engine.view import plots

    folder, parts = run.folder, run.parts
    plots.curve(folder.records(), folder.path / "curve.png", str(folder.path), parts.evaluator.view.panels)
    drawable = capabilities_of(parts.game).drawable
    if drawable is None:
        return
    try:
        with at_best(run):
            plots.gif(plots.frames(parts.game, parts.profile), folder.path / "replay.gif")
    except OSError:
        raise
    except Exception as error:  # whatever a game does when it draws itself; what was learned is safe
        name = type(parts.game).__name__
        warnings.warn(Notice(f"no replay.gif: {name} cannot be drawn: {type(error).__name__}: {error}"), stacklevel=2)


def show(run: Any, report: Any, seconds: float, reason: str, console: Any, exports: str) -> None:
    """The last lines that a person sees."""
    from rich.text import Text

    from marl_engine.view.progress import duration

    path, say = run.folder.path, console.print
    number, beside = report.headline
    work = "".join(f", {count:,} {unit}" for unit, count in run.work.items())
    spent = f" after {run.iteration:,} iterations{work}, in {duration(seconds)}; ended by {reason}"
    say(Text.assemble((number, "bold"), f" {beside}{spent}"))
    for line in [line for each in report.artefacts for line in each.lines]:
        say(line)
    command = Path(sys.argv[0])
    bare = which("marl-train") is not None
    if (path / "replay.gif").exists():
        say(f"watch   {path / 'replay.gif'}")
    for each in report.artefacts:
        if each.text is not None:
            say(f"{each.verb:<7} {path / each.name}")
    if exports:
        say(exports)
    say(f"curve   {path / 'curve.png'}   numbers {path / 'summary.json'}")
    say(f"go on   {'marl-train' if bare else command} resume={quote_word(str(path))}{further(run, reason, seconds)}")
    say(
        f"compare {'tensorboard' if bare else command.with_name('tensorboard')} --logdir {quote_word(str(path.parent))}"
    )


def further(run: Any, reason: str, seconds: float) -> str:
    """The key that lets a run go on twice as far; one that was interrupted has its limit still before it."""
    longer = {
        "steps": f" steps={2 * run.spent}",
        "iterations": f" iterations={2 * run.iteration}",
        "seconds": f" stop.seconds={2 * seconds:.0f}",
        "nash_conv": f" stop.nash_conv={run.nash_conv / 10:.1g}",
    }
    return longer.get(reason, "")
