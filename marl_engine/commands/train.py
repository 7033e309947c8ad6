"""marl-train: a game, a solver, a policy and a responder; trains, shows, evaluates, and leaves a run folder."""

import shutil
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from marl_engine.build import Refused, checked
from marl_engine.commands.configuration import composed, plain, refusals, resumed

RUNS = Path("runs")
PARTS = ("game", "solver", "policy", "responder", "runner")
CONFIG = "train"
INTERRUPTED = 130


def main() -> None:
    """The command. Exit codes: 0 done, 1 diverged, 2 refused, 130 interrupted."""
    arguments = sys.argv[1:]
    with refusals():
        flags = [argument for argument in arguments if argument.startswith("-")]
        overrides = [argument for argument in arguments if not argument.startswith("-")]
        folder = [override for override in overrides if override.startswith("resume=")]
        if folder:
            others = [override for override in overrides if override not in folder]
            code = train(resumed(Path(folder[0].partition("=")[2]), others), Path(folder[0].partition("=")[2]))
        elif flags:
            if set(flags) & {"-m", "--multirun"}:
                composed(CONFIG, overrides)
            return by_hydra()
        else:
            code = train(composed(CONFIG, overrides))
    raise SystemExit(code)


@hydra.main(config_path="pkg://configs", config_name=CONFIG, version_base=None)
def by_hydra(config: DictConfig) -> None:
    """Sweeps, help and Hydra's other flags."""
    with refusals():
        if code := train(plain(config)):
            raise SystemExit(code)


def split(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The plan and the stopping rule of a configuration. Raises Refused."""
    from marl_engine.training import Plan, Stop

    own = {key: value for key, value in config.items() if key not in (*PARTS, "stop")}
    return Plan(**checked(own, Plan, "")), Stop(**checked(config["stop"], Stop, "stop."))


def new_folder(plan: Any) -> Path:
    """Where a run will live. Raises Refused when the name is taken."""
    name = plan.run or unused_name(datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    path = RUNS / name
    if path.exists() and not plan.overwrite:
        raise Refused(
            f"{path} exists; choose another run=, or go on with resume={path}, or replace it with overwrite=true"
        )
    return path


def unused_name(name: str) -> str:
    """The name, or the name with a number when runs of the same second have taken it."""
    others = (f"{name}_{number}" for number in range(2, 10**6))
    return name if not (RUNS / name).exists() else next(each for each in others if not (RUNS / each).exists())


def train(config: Mapping[str, Any], resume: Path | None = None) -> int:
    """Runs a configuration, or goes on with the run in a folder; returns the exit code. Raises Refused."""
    from rich.console import Console

    from marl_engine.build import setting
    from marl_engine.folder import Folder
    from marl_engine.training import Diverged, Run

    console = Console()
    plan, stop = split(config)
    path = resume or new_folder(plan)
    if plan.threads is not None:
        import torch

        torch.set_num_threads(plan.threads)
    parts = setting(config)
    folder = Folder(path)
    run = Run(parts, plan, stop, folder)
    if resume is not None:
        try:
            damages = run.restore()
        except FileNotFoundError as error:
            raise Refused(str(error)) from error
        for damage in damages:
            console.print(f"[yellow]{damage}; going on from the one before it, iteration {run.iteration}[/]")
    elif path.exists():
        shutil.rmtree(path)
    folder.write_config({**config, "resume": None, "overwrite": False})
    console.print(f"{headline(config)}, in {path}", highlight=False)
    try:
        reason, seconds = watched(run, console)
    except Diverged as diverged:
        kept = f"; the last good checkpoint is iteration {run.saved}" if run.saved else ""
        console.print(f"[red]stopped at iteration {run.iteration + 1}: {diverged}{kept}[/]")
        folder.close()
        return 1
    finish(run, reason, seconds, console)
    return INTERRUPTED if reason == "interrupted" else 0


def headline(config: Mapping[str, Any]) -> str:
    """What is run, in a few words."""
    names = [config[part]["_target_"].rpartition(".")[2] for part in ("game", "solver", "responder")]
    layout = config["game"].get("layout")
    return f"{names[0]}{f' ({layout})' if layout else ''} · {names[1]} · {names[2]} · seed {config['seed']}"


def watched(run: Any, console: Any) -> tuple[str, float]:
    """Runs to the end with a display of how far it is."""
    from marl_engine.display import Display

    plan, stop = run.plan, run.stop
    unit, total, began = next(
        (unit, total, began)
        for unit, total, began in (
            ("steps", plan.steps, run.steps),
            ("iteration", plan.iterations, run.iteration),
            ("seconds", stop.seconds, run.seconds),
            ("steps", None, 0),
        )
        if total is not None or (unit == "steps" and began == 0)
    )
    with Display(console, unit, total, began) as display:
        return run.run(display.show)


def finish(run: Any, reason: str, seconds: float, console: Any) -> None:
    """Evaluates, writes the summary and the pictures, and says where they are."""
    scores = run.evaluated(full=True)
    run.folder.summarise(
        {
            **scores,
            "episodes": run.plan.episodes,
            "iterations": run.iteration,
            "steps": run.steps,
            "seconds": seconds,
            "exit": reason,
            "best": {"iteration": run.best[0], "return/mean": run.best[1]} if run.best else None,
        }
    )
    run.folder.close()
    illustrate(run)
    report(run, scores, seconds, reason, console)


def illustrate(run: Any) -> None:
    """curve.png, and replay.gif of the best checkpoint where the game can draw itself."""
    from marl_engine import checkpoint, pictures
    from marl_engine.build import load_policies, policies_state

    folder, parts = run.folder, run.parts
    pictures.curve(folder.records(), folder.path / "curve.png", str(folder.path))
    if not hasattr(parts.game, "render"):
        return
    last = policies_state(parts.profile)
    if run.best and run.best[0] != run.iteration:
        load_policies(parts.profile, checkpoint.read(folder.checkpoints / f"{run.best[0]:08d}")["profile"])
    pictures.gif(pictures.frames(parts.game, parts.profile), folder.path / "replay.gif")
    load_policies(parts.profile, last)


def report(run: Any, scores: Mapping[str, float], seconds: float, reason: str, console: Any) -> None:
    """The last lines that a person sees."""
    from marl_engine.display import duration

    path = run.folder.path
    console.print(
        f"[bold]return {scores['return/mean']:.1f} ± {scores['return/stderr']:.1f}[/] sampled, "
        f"{scores['return/greedy/mean']:.1f} ± {scores['return/greedy/stderr']:.1f} greedy "
        f"({run.plan.episodes} games each; seats swapped {scores['return/swapped/mean']:.1f}) "
        f"after {run.steps:,} steps in {duration(seconds)}; ended by {reason}",
        highlight=False,
    )
    console.print(f"watch   {path / 'replay.gif'}", highlight=False)
    console.print(f"curve   {path / 'curve.png'}   numbers {path / 'summary.json'}", highlight=False)
    console.print(f"go on   marl-train resume={path} steps={2 * run.steps}", highlight=False)
    console.print(f"compare tensorboard --logdir {path.parent}", highlight=False)
