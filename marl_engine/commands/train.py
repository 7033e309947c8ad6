"""marl-train: a game, a solver, a policy and a responder; trains, shows, evaluates, and leaves a run folder."""

import gc
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from marl_engine.commands.command_line.arguments import read_line
from marl_engine.commands.command_line.cli_config import composed, opened, resumed
from marl_engine.commands.command_line.environment import CONFIGS
from marl_engine.commands.command_line.overrides import parse_overrides, sweep_jobs
from marl_engine.commands.process import FAILED, run_command
from marl_engine.configuration import validate_fields
from marl_engine.errors import Refused, excerpt
from marl_engine.interruption import INTERRUPTION
from marl_engine.runs.inputs import INPUTS

RUNS = Path("runs")
PARTS = ("game", "solver", "policy", "responder", "runner")
CONFIG = "train"
EXAMPLE = "overcooked"  # the game whose keys --help shows when none is named
PLAYED = ("payoffs", "prompts", "layout", "name", "family")  # what a game is called by: a file of the user's first
GRACE = 5.0  # seconds that a run which a signal has stopped takes to sum up


def main() -> None:
    """The command. Exit codes: 0 done, 1 diverged or could not write, 2 refused, 128 + the number of a signal."""
    gc.disable()  # what is loaded is no garbage, and looking for some takes half a second
    try:
        run_command(commanded)
    finally:
        gc.enable()


def commanded(arguments: Sequence[str]) -> int:
    """Does what the command line says; returns the exit code. Raises Refused."""
    line = read_line(arguments)
    folders = [word.partition("=")[2] for word in line.words if word.startswith("resume=")]
    if folders:
        if line.flags:
            raise Refused(f"resume={folders[0]} goes on with one run; leave out {', '.join(line.flags)}")
        others = [word for word in line.words if not word.startswith("resume=")]
        return train(resumed(Path(folders[0]), others), Path(folders[0]))
    if line.action in (None, "run"):
        return train(composed(CONFIG, line.words, line.presets))
    if line.action == "multirun":
        jobs = sweep_jobs(line.words)
        return sweep(jobs, [composed(CONFIG, job, line.presets) for job in jobs])
    words = opened(parse_overrides(line.words))
    if line.action == "cfg":
        composed(CONFIG, line.words, line.presets)  # says in a sentence what is wrong
    elif not any(word.startswith(("game=", "~game")) for word in words):
        words.append(f"game={EXAMPLE}")
    sys.argv[1:] = [*words, *line.flags]
    show_by_hydra()
    return 0


@hydra.main(config_path=str(CONFIGS), config_name=CONFIG, version_base=None)
def show_by_hydra(config: DictConfig) -> None:
    """Help, and what else Hydra shows of a configuration; it runs nothing."""


def sweep(words: Sequence[Sequence[str]], configs: Sequence[Mapping[str, Any]]) -> int:
    """Runs the jobs of a sweep, after a look at all of them; returns the exit code. Raises Refused."""
    from marl_engine.commands.sweep import carry_out, jobs_of
    from marl_engine.runs.factory import build

    jobs = jobs_of(words, configs, RUNS)
    for job in jobs:
        plan, _ = split(job.config)
        if plan.run and not job.folder:
            named_folder(plan.run, plan.overwrite)
        build(job.config)
    return carry_out(jobs, train)


def split(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The plan and the stopping rule of a configuration. Raises Refused."""
    from marl_engine.runs.run import RunOptions, StopRule

    for part in PARTS:
        if not isinstance(config.get(part), Mapping):
            raise Refused(f"{part} must be the name of a preset, not {config.get(part)!r}")
    own = {key: value for key, value in config.items() if key not in (*PARTS, "stop")}
    return RunOptions(**validate_fields(own, RunOptions, "")), StopRule(
        **validate_fields(config.get("stop"), StopRule, "stop.")
    )


def named_folder(name: str, overwrite: bool) -> Path:
    """Where a run of a name will live. Raises Refused when it is taken."""
    path = RUNS / name
    if Path(name).is_absolute() or {".", ".."} & set(name.split("/")):
        raise Refused(f"run must be the name of a folder inside {RUNS}/, not {name!r}")
    if path.exists() and not (is_blank(path) or overwrite):
        raise Refused(
            f"{path} exists; choose another run=, or go on with resume={path}, or replace it with overwrite=true"
        )
    if path.exists() and not (is_blank(path) or (path / "config.yaml").is_file()):
        raise Refused(f"{path} is not the folder of a run, so overwrite=true does not replace it; choose another run=")
    return path


def is_blank(path: Path) -> bool:
    """Whether a folder is empty, or that of a run which was killed before it had written its configuration."""
    return path.is_dir() and all(each.name[0] == "." or each.name in (INPUTS, "initial") for each in path.iterdir())


def dated_folder() -> Path:
    """Makes a folder that is called by the time, with a number where runs of the same second have taken it."""
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for path in (RUNS / name, *(RUNS / f"{name}_{number}" for number in range(2, 10**6))):
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise Refused(f"all names that begin with {RUNS / name} are taken; choose run=")


def train(config: Mapping[str, Any], resume: Path | None = None) -> int:
    """Runs a configuration, or goes on with the run in a folder; returns the exit code. Raises Refused."""
    from marl_engine.commands.check_game import report_contract
    from marl_engine.numerics.threads import choose_threads
    from marl_engine.runs.folder import RunFolder
    from marl_engine.runs.lock import locked
    from marl_engine.view.progress import new_console

    plan, stop = split(config)
    console = new_console()
    if plan.check:
        return report_contract(config, console)
    config = {**config, "threads": choose_threads(plan.threads)}  # in config.yaml, for going on bit for bit
    folder = RunFolder(resume or (named_folder(plan.run, plan.overwrite) if plan.run else dated_folder()))
    with locked(folder.path):
        run = prepare(config, plan, stop, folder, resume is not None, console)
        console.print(f"{headline(config)}, in {folder.path}")
        return carry_out(run, console, resume is None)


def prepare(config: Mapping[str, Any], plan: Any, stop: Any, folder: Any, resume: bool, console: Any) -> Any:
    """A run that can begin, or go on where it was, and its folder. Raises Refused."""
    import torch

    from marl_engine.policies.weights import profile_state
    from marl_engine.runs.factory import build
    from marl_engine.runs.folder import RunFolder
    from marl_engine.runs.inputs import keep, localise, look
    from marl_engine.runs.run import Run

    torch.set_num_threads(config["threads"])
    inputs = [] if resume else look(config)
    local, notes = localise(config, folder.path) if resume else (config, [])
    initial = RunFolder(folder.path / "initial")  # of a run that began with another's weights
    start = initial.path if plan.init and resume else plan.init
    parts = build({**local, "seed": plan.seed, "init": start})  # the seed as a whole number, also of 1e3
    run = Run(parts, plan, stop, folder)
    if resume:
        for note in [*notes, *restored(run)]:
            console.print(f"{note}; going on from iteration {run.iteration}", style="yellow")
    else:
        folder.clear()
        keep(inputs, folder.path)
        if plan.init:
            initial.save(0, {"profile": profile_state(parts.reference)}, None)
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    folder.write_config({**config, "resume": None, "overwrite": False})
    return run


def carry_out(run: Any, console: Any, is_new: bool) -> int:
    """Runs to the end and sums up; returns the exit code. Raises Refused where nothing could be done at all."""
    from marl_engine.commands.summary import finish
    from marl_engine.errors import Halted

    begun, folder = run.iteration, run.folder
    try:
        reason, seconds = watched(run, console)
        if INTERRUPTION.signals:
            console.print(f"saved as iteration {run.iteration}; resume={folder.path} goes on with it")
        with INTERRUPTION.limit(GRACE) if INTERRUPTION.signals else nullcontext():
            finish(run, reason, seconds, console)
    except ValueError as error:
        if run.iteration == begun:
            if is_new:
                folder.clear()
            raise Refused(str(error)) from error
        if not isinstance(error, Refused):
            raise
        return halt(run, error, console)
    except (Halted, OSError) as error:
        return halt(run, error, console)
    return INTERRUPTION.code if INTERRUPTION.signals else 0


def halt(run: Any, error: Exception, console: Any) -> int:
    """Says why a run cannot go on, and what is left of it; returns the exit code."""
    from marl_engine.errors import describe

    kept = "" if run.saved is None else f"; the last good checkpoint is iteration {run.saved}"
    console.print(f"stopped after iteration {run.iteration}: {describe(error)}{kept}", style="red")
    with suppress(OSError):
        run.folder.close()
    return FAILED


def restored(run: Any) -> list[str]:
    """Goes back to the newest whole checkpoint; returns what is wrong with newer ones. Raises Refused."""
    try:
        return run.restore()
    except FileNotFoundError as error:
        raise Refused(str(error)) from error
    except (RuntimeError, LookupError, ValueError) as error:
        reason = excerpt(str(error))
        raise Refused(f"the checkpoints in {run.folder.path} do not fit its config.yaml: {reason}") from error


def headline(config: Mapping[str, Any]) -> str:
    """What is run, in a few words."""
    names = [config[part]["_target_"].rpartition(".")[2] for part in ("game", "solver", "responder")]
    played = next((config["game"][key] for key in PLAYED if config["game"].get(key)), "")
    played = excerpt(", ".join(map(str, played)) if isinstance(played, list) else str(played))
    threads = f" · {config['threads']} threads" if config["threads"] > 1 else ""
    return f"{names[0]}{f' ({played})' if played else ''} · {names[1]} · {names[2]} · seed {config['seed']}{threads}"


def watched(run: Any, console: Any) -> tuple[str, float]:
    """Runs to the end with a display of how far it is."""
    from marl_engine.view.progress import Display

    limits: dict[str, tuple[float, float | None]] = {
        "steps": (run.spent, run.plan.steps),
        "iteration": (run.iteration, run.plan.iterations),
        "seconds": (run.seconds, run.stop.seconds),
    }
    with Display(
        console,
        {unit: (began, end) for unit, (began, end) in limits.items() if end is not None},
        run.parts.evaluator.view,
    ) as display:
        return run.run(lambda record: display.show(record, run.parts.quote()))
