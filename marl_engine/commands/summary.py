"""How a run ends: the last evaluation, the summary, what is drawn and quoted, and the last lines that a person sees."""

import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from shlex import quote as quote_word
from shutil import which
from typing import Any

from marl_engine.errors import Notice

OF_SOLVERS = ("nash_conv", "gap", "queries")  # metrics that are about the profile and only a solver knows


def finish(run: Any, reason: str, seconds: float, console: Any) -> None:
    """Evaluates, writes the summary and the pictures, and says where they are."""
    found = run.evaluated(full=True)
    run.consider(found)
    scores = {**known(run.folder.records()), **run.parts.costs(), **found}
    run.folder.summarise(
        {
            **scores,
            "episodes": run.plan.episodes,
            "iterations": run.iteration,
            "steps": run.steps,
            "seconds": seconds,
            "started": run.started,
            "exit": reason,
            "best": run.best._asdict(),
        }
    )
    run.folder.close()
    if run.samples:
        quote(run)
    adapters = save_adapters(run) if run.samples else ""
    equilibrium = save_strategies(run) if hasattr(run.parts.game, "form") else []
    illustrate(run)
    report(run, scores, seconds, reason, console, adapters, equilibrium)


def quote(run: Any) -> None:
    """samples.md: what the last profile answers beside where it began, unedited."""
    lines = [f"# {run.folder.path}: answers to prompts held out, before and after", ""]
    for each in run.samples:
        lines += [
            "\n\n".join(f"**{part}**" for part in each.prompt.split("\n\n")),  # a chat has several
            "",
            f"before: {each.reference}",
            "",
            f"after ({each.preferred:.2f}): {each.answer}",
            "",
        ]
    (run.folder.path / "samples.md").write_text("\n".join(lines), encoding="utf-8")


def save_strategies(run: Any) -> list[str]:
    """strategy.json: the strategies of the last profile, and what deviating gains; returns what a screen shows."""
    from marl_engine.evaluation.strategies import SAVED, lines_of, read_strategies
    from marl_engine.runs.folder import replace

    path = run.folder.path / "strategy.json"
    strategies = read_strategies(run.parts.game, run.parts.profile)
    if strategies is None:
        path.unlink(missing_ok=True)
        return [f"there is no {path.name}: the strategies have more than {SAVED:,} actions"]
    rows = {name: ",\n  ".join(map(json.dumps, each)) for name, each in strategies._asdict().items()}
    lists = ",\n".join(f' "{name}": [\n  {row}\n ]' for name, row in rows.items())
    replace(path, f'{{\n "iteration": {run.iteration},\n{lists}\n}}\n')
    return lines_of(strategies)


def save_adapters(run: Any) -> str:
    """adapter/, the last policy as peft loads it, and in it best/, the best one; returns which is which, in words.

    Where all weights are learned, both are whole models of transformers.
    """
    folder, last = run.folder.path / "adapter", run.verdict[1]["win_rate/reference"]
    run.parts.profile[0].save(folder)
    with at_best(run) as iteration:
        run.parts.profile[0].save(folder / "best")
    best = last if iteration == run.iteration else run.best.score
    return f"{folder} (last, win rate {last:.3f}), {folder / 'best'} (iteration {iteration}, {best:.3f})"


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
    plots.curve(folder.records(), folder.path / "curve.png", str(folder.path))
    if not hasattr(parts.game, "render"):
        return
    try:
        with at_best(run):
            plots.gif(plots.frames(parts.game, parts.profile), folder.path / "replay.gif")
    except OSError:
        raise
    except Exception as error:  # whatever a game does when it draws itself; what was learned is safe
        name = type(parts.game).__name__
        warnings.warn(Notice(f"no replay.gif: {name} cannot be drawn: {type(error).__name__}: {error}"), stacklevel=2)


def report(
    run: Any,
    scores: Mapping[str, float],
    seconds: float,
    reason: str,
    console: Any,
    adapters: str,
    equilibrium: Sequence[str],
) -> None:
    """The last lines that a person sees."""
    from rich.text import Text

    from marl_engine.view.progress import duration

    path, say = run.folder.path, console.print
    say(Text.from_markup(f"{headlined(run, scores)} in {duration(seconds)}; ended by {reason}"))  # numbers of ours
    for line in equilibrium:
        say(line)
    command = Path(sys.argv[0])
    bare = which("marl-train") is not None
    if (path / "replay.gif").exists():
        say(f"watch   {path / 'replay.gif'}")
    if (path / "samples.md").exists():
        say(f"read    {path / 'samples.md'}")
    if adapters:
        say(f"adapter {adapters}")
    if (path / "strategy.json").exists():
        say(f"play    {path / 'strategy.json'}")
    say(f"curve   {path / 'curve.png'}   numbers {path / 'summary.json'}")
    say(f"go on   {'marl-train' if bare else command} resume={quote_word(str(path))}{further(run, reason, seconds)}")
    say(
        f"compare {'tensorboard' if bare else command.with_name('tensorboard')} --logdir {quote_word(str(path.parent))}"
    )


def headlined(run: Any, scores: Mapping[str, float]) -> str:
    """How good the profile is, after how much."""
    if "win_rate/reference" in scores:
        rate, low, high, even = (
            scores[f"win_rate/reference{name}"] for name in ("", "/low", "/high", "/length_controlled")
        )
        return (
            f"[bold]win rate {rate:.3f}[/] ({low:.3f} to {high:.3f}) against where it began, {even:.3f} at equal "
            f"length, on {run.plan.episodes} answers to prompts held out; KL {scores['kl/reference']:.1f} nats, "
            f"{scores['length']:.1f} tokens (before: {scores['length/reference']:.1f}) after {run.steps:,} comparisons"
        )
    if "exploitability" in scores:
        gap = f", gap {scores['gap']:.2g}" if "gap" in scores else ""
        return (
            f"[bold]nash_conv {scores['nash_conv']:.6f}[/] (exploitability {scores['exploitability']:.6f}{gap}), "
            f"returns {', '.join(f'{scores[name]:.4f}' for name in sorted(scores) if name[7:].isdigit())} "
            f"after {run.iteration:,} iterations"
        )
    if "return/initial/mean" in scores:
        mean, error = scores["return/initial/mean"], scores["return/initial/stderr"]
        return (
            f"[bold]return {mean:.4g} ± {error:.2g}[/] against where it began, sampled ({run.plan.episodes} games from "
            f"each seat; all returns sum to {scores['return/mean'] * run.parts.game.players:.4g}) "
            f"after {run.steps:,} steps"
        )
    return (
        f"[bold]return {scores['return/mean']:.4g} ± {scores['return/stderr']:.2g}[/] sampled, "
        f"{scores['return/greedy/mean']:.4g} ± {scores['return/greedy/stderr']:.2g} greedy "
        f"({run.plan.episodes} games each; seats swapped {scores['return/swapped/mean']:.4g}) after {run.steps:,} steps"
    )


def further(run: Any, reason: str, seconds: float) -> str:
    """The key that lets a run go on twice as far; one that was interrupted has its limit still before it."""
    longer = {
        "steps": f" steps={2 * run.steps}",
        "iterations": f" iterations={2 * run.iteration}",
        "seconds": f" stop.seconds={2 * seconds:.0f}",
        "nash_conv": f" stop.nash_conv={run.nash_conv / 10:.1g}",
    }
    return longer.get(reason, "")
