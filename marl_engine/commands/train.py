"""marl-train: trains with a game, a solver, a policy and a responder, and writes a run folder."""

import gc
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from marl_engine.commands.command_line.arguments import read_line
from marl_engine.commands.command_line.cli_config import choose_presets, compose_config, hydra_overrides, resume_config
from marl_engine.commands.command_line.environment import CONFIGS
from marl_engine.commands.command_line.overrides import parse_overrides, sweep_jobs
from marl_engine.commands.process import FAILED, run_command
from marl_engine.configuration import validate_fields
from marl_engine.errors import Halted, Refused, describe, excerpt
from marl_engine.interruption import INTERRUPTION
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.inputs import INPUTS
from marl_engine.runs.run import Run, RunOptions, StopRule
from marl_engine.storage import Mirror, fetch_folder, is_url
from marl_engine.types import Game, Runner

RUNS = Path("runs")
PARTS = ("game", "solver", "policy", "responder", "runner")
CONFIG = "train"
EXAMPLE = "overcooked"  # the game whose keys --help shows by default
GAME_KEYS = ("payoffs", "prompts", "layout", "name", "family", "env")  # keys that describe a game, files first


def main() -> None:
    """The command. Exit codes: 0 done, 1 diverged or could not write, 2 refused, 128 + the number of a signal."""
    gc.disable()  # collecting garbage during imports takes half a second
    try:
        run_command(dispatch)
    finally:
        gc.enable()


def dispatch(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit code. Raises Refused."""
    line = read_line(arguments)
    folders = [word.partition("=")[2] for word in line.words if word.startswith("resume=")]
    if folders:
        if line.flags:
            raise Refused(f"resume={folders[0]} goes on with one run; leave out {', '.join(line.flags)}")
        words_left = [word for word in line.words if not word.startswith("resume=")]
        folder = fetch_folder(folders[0], RUNS) if is_url(folders[0]) else Path(folders[0])
        return train(resume_config(folder, words_left), folder)
    if line.action in (None, "run"):
        return train(compose_config(CONFIG, line.words, line.presets))
    if line.action == "multirun":
        if any(word.startswith("pbt.members=") for word in line.words):
            return evolve(line.words, line.presets)
        jobs = sweep_jobs(line.words)
        return sweep(jobs, [compose_config(CONFIG, job, line.presets) for job in jobs])
    words = line.words
    if line.action == "cfg":
        words = choose_presets(CONFIG, words, line.presets)[1]  # reports errors in one sentence
    elif not any(word.startswith(("game=", "~game")) for word in words):
        words = [*words, f"game={EXAMPLE}"]
    sys.argv[1:] = [*hydra_overrides(parse_overrides(words)), *line.flags]
    show_by_hydra()
    return 0


@hydra.main(config_path=str(CONFIGS), config_name=CONFIG, version_base=None)
def show_by_hydra(config: DictConfig) -> None:
    """Lets Hydra print help or the configuration; runs nothing."""


def sweep(words: Sequence[Sequence[str]], configs: Sequence[Mapping[str, Any]]) -> int:
    """Checks and then runs the jobs of a sweep; returns the exit code. Raises Refused."""
    from marl_engine.commands.sweeps.grid import jobs_of, run_jobs
    from marl_engine.runs.factory import build

    jobs = jobs_of(words, configs, RUNS)
    for job in jobs:
        plan, _ = split_config(job.config)
        if plan.run and not job.folder:
            named_folder(plan.run, plan.overwrite)
        build(job.config)
    return run_jobs(jobs, RUNS, train, sweep_runner(configs))


def evolve(words: Sequence[str], presets: Path | None) -> int:
    """Runs population-based training; returns the exit code. Raises Refused."""
    from marl_engine.commands.sweeps.population import PBTOptions, Population, read_choices, train_population
    from marl_engine.runs.factory import build

    config, choices = read_choices(words, lambda each: compose_config(CONFIG, each, presets))
    plan, _ = split_config(config)
    section = PBTOptions(**validate_fields(config["pbt"], PBTOptions, "pbt."))
    if plan.run is None or plan.iterations is None:
        raise Refused("pbt needs run=, the name of its folder, and iterations=, the length of the run of each member")
    folder = RUNS / plan.run
    if plan.overwrite and (folder / "population.json").is_file():
        shutil.rmtree(folder)
    build(config)
    base = {**config, "overwrite": False, "pbt": None}
    return train_population(Population(folder, base, choices, section), plan.iterations, train, sweep_runner([config]))


def sweep_runner(configs: Sequence[Mapping[str, Any]]) -> Runner:
    """Returns the runner of a sweep: that of its jobs, without a limit of time, if they have the same."""
    from marl_engine.configuration import instantiate
    from marl_engine.runners import LOCAL

    section = configs[0]["runner"]
    if any(config["runner"] != section for config in configs):
        return LOCAL
    runner: Runner = instantiate("runner", {key: None if key == "timeout" else section[key] for key in section})
    return runner


def split_config(config: Mapping[str, Any]) -> tuple[RunOptions, StopRule]:
    """Returns the options and the stopping rule of a configuration. Raises Refused."""
    for part in PARTS:
        if not isinstance(config.get(part), Mapping):
            raise Refused(f"{part} must be the name of a preset, not {config.get(part)!r}")
    options = {key: value for key, value in config.items() if key not in (*PARTS, "stop", "pbt")}
    return RunOptions(**validate_fields(options, RunOptions, "")), StopRule(
        **validate_fields(config.get("stop"), StopRule, "stop.")
    )


def named_folder(name: str, overwrite: bool) -> Path:
    """Returns the folder of a run with a name. Raises Refused if it exists."""
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
    """Whether a folder is empty, or that of a run which was killed before it wrote its configuration."""
    return path.is_dir() and all(each.name[0] == "." or each.name in (INPUTS, "initial") for each in path.iterdir())


def dated_folder() -> Path:
    """Creates a folder named by date and time, with a number if the name is taken."""
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1, 10**6):
        path = RUNS / (name if number == 1 else f"{name}_{number}")
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise Refused(f"all names that begin with {RUNS / name} are taken; choose run=")


def train(config: Mapping[str, Any], resume: Path | None = None) -> int:
    """Runs a configuration, or resumes the run in a folder; returns the exit code. Raises Refused."""
    from marl_engine.commands.check_game import report_contract
    from marl_engine.numerics.threads import choose_threads
    from marl_engine.runs.lock import lock_folder
    from marl_engine.view.progress import new_console

    plan, stop = split_config(config)
    if (config.get("pbt") or {}).get("members") is not None:
        raise Refused("pbt.members needs -m and several values, such as responder.learning_rate=1e-4,3e-4,1e-3")
    console = new_console()
    if plan.check:
        return report_contract(config, console)
    config = {**config, "threads": choose_threads(plan.threads)}  # saved, so that resuming is bit-identical
    folder = RunFolder(resume or (named_folder(plan.run, plan.overwrite) if plan.run else dated_folder()))
    with lock_folder(folder.path):
        if plan.mirror:
            folder.mirror = Mirror(plan.mirror, folder.path)
            if not resume and not plan.overwrite:
                folder.mirror.check_free()
        run = prepare(config, plan, stop, folder, resume is not None, console)
        console.print(f"{describe_run(config, run.parts.game)}, in {folder.path}")
        return run_to_end(run, console, resume is None)


def prepare(
    config: Mapping[str, Any], plan: RunOptions, stop: StopRule, folder: RunFolder, resume: bool, console: Any
) -> Run:
    """Creates a run and its folder, or restores it. Raises Refused."""
    import torch

    from marl_engine.policies.weights import profile_state
    from marl_engine.runs.factory import build, note_idle_workers
    from marl_engine.runs.inputs import check_outside, copy_inputs, list_inputs, localise

    torch.set_num_threads(config["threads"])
    inputs = [] if resume else list_inputs(config)
    check_outside(inputs, folder.path)
    local, notes = localise(config, folder.path) if resume else (config, [])
    initial = RunFolder(folder.path / "initial")  # initial weights from another run
    start = initial.path if plan.init and resume else plan.init
    parts = build({**local, "seed": plan.seed, "init": start})  # the seed as an integer, even if given as 1e3
    note_idle_workers(parts)
    run = Run(parts, plan, stop, folder)
    if resume:
        for note in [*notes, *restore_run(run)]:
            console.print(f"{note}; going on from iteration {run.iteration}", style="yellow")
    else:
        folder.clear()
        copy_inputs(inputs, folder.path)
        if plan.init:
            initial.save(0, {"profile": profile_state(parts.reference)}, None)
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    folder.write_config({**config, "resume": None, "overwrite": False})
    return run


def run_to_end(run: Run, console: Any, is_new: bool) -> int:
    """Runs to the end and writes the summary; returns the exit code. Raises Refused if the first iteration fails."""
    from marl_engine.commands.summary import finish

    start, folder = run.iteration, run.folder
    try:
        reason, seconds = run_with_display(run, console)
        if INTERRUPTION.signals:
            console.print(f"saved as iteration {run.iteration}; resume={folder.path} goes on with it")
        finish(run, reason, seconds, console)
        folder.update_mirror()
    except ValueError as error:
        if run.iteration == start:
            if is_new:
                folder.clear()
            raise Refused(str(error)) from error
        if not isinstance(error, Refused):
            raise
        return halt(run, error, console)
    except (Halted, OSError) as error:
        return halt(run, error, console)
    return INTERRUPTION.code if INTERRUPTION.signals else 0


def halt(run: Run, error: Exception, console: Any) -> int:
    """Prints why a run stopped and which checkpoint remains; returns the exit code."""
    advice = "" if run.saved_iteration is None else f"; the last good checkpoint is iteration {run.saved_iteration}"
    console.print(f"stopped after iteration {run.iteration}: {describe(error)}{advice}", style="red")
    with suppress(OSError):
        run.folder.close()
    return FAILED


def restore_run(run: Run) -> list[str]:
    """Restores the newest valid checkpoint; returns notes on damaged ones. Raises Refused."""
    try:
        return run.restore()
    except FileNotFoundError as error:
        raise Refused(str(error)) from error
    except Halted as error:
        raise Refused(describe(error)) from error
    except (RuntimeError, LookupError, ValueError) as error:
        reason = excerpt(str(error))
        raise Refused(f"the checkpoints in {run.folder.path} do not fit its config.yaml: {reason}") from error


def describe_run(config: Mapping[str, Any], game: Game | None = None) -> str:
    """Describes a run in a few words, with those of its game, if it has any."""
    from marl_engine.capabilities import capabilities_of

    described = capabilities_of(game).described
    manner = f", {described.describe()}" if described is not None else ""
    names = [config[part]["_target_"].rpartition(".")[2] for part in ("game", "solver", "responder")]
    detail = next((config["game"][key] for key in GAME_KEYS if config["game"].get(key)), "")
    detail = excerpt(", ".join(map(str, detail)) if isinstance(detail, list) else str(detail))
    threads = f" · {config['threads']} threads" if config["threads"] > 1 else ""
    played = f"{names[0]}{f' ({detail})' if detail else ''}{manner}"
    return f"{played} · {names[1]} · {names[2]} · seed {config['seed']}{threads}"


def run_with_display(run: Run, console: Any) -> tuple[str, float]:
    """Runs to the end with a progress display."""
    from marl_engine.view.progress import Display

    limits: dict[str, tuple[float, float | None]] = {
        "steps": (run.limited_work, run.plan.steps),
        "iteration": (run.iteration, run.plan.iterations),
        "seconds": (run.seconds, run.stop.seconds),
    }
    with Display(
        console,
        {unit: (began, end) for unit, (began, end) in limits.items() if end is not None},
        run.parts.evaluator.view,
    ) as display:
        return run.run(lambda record: display.show(record, run.parts.quote()))
