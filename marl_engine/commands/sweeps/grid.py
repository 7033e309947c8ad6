"""Runs several jobs, one after the other or at the same time in the workers of a runner.

A failing job does not stop the others, and a repeated sweep runs what is missing.

A job is identified by its configuration, whatever the name of its folder. If a folder in runs/ with this configuration
has finished, the job is done; if it was interrupted, killed or halted, the job resumes there.
"""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from io import SEEK_END, StringIO
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from marl_engine.commands.command_line.cli_config import to_dict
from marl_engine.commands.command_line.preset_files import load_config
from marl_engine.commands.process import FAILED
from marl_engine.errors import Refused, describe
from marl_engine.interruption import INTERRUPTION
from marl_engine.runners import LOCAL
from marl_engine.runners.resident import is_worker
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.inputs import Input, list_inputs, read_inputs
from marl_engine.types import Runner, main_unit

Train = Callable[[Mapping[str, Any], Path | None], int]  # runs a configuration in a folder; returns the exit code
IGNORED_KEYS = {"run", "resume", "overwrite", "threads", "mirror"}  # keys that do not change what a run computes


class Job(NamedTuple):
    """One run of a sweep."""

    label: str  # the words that differ between jobs
    config: Mapping[str, Any]
    folder: Path | None  # of an existing run with this configuration


def jobs_of(words: Sequence[Sequence[str]], configs: Sequence[Mapping[str, Any]], runs: Path) -> list[Job]:
    """Returns the jobs of a sweep with the folders below `runs` in which they resume.

    Raises Refused if two share one.
    """
    check_names([config["run"] for config in configs if config.get("run")])
    folders = identities_in(runs)
    common = set.intersection(*map(set, words))
    jobs = []
    for each, config in zip(words, configs, strict=True):
        label = " ".join(word for word in each if word not in common) or " ".join(each)
        jobs.append(Job(label, config, None if config.get("overwrite") else folder_of(config, folders, runs)))
    return jobs


def check_names(names: Sequence[str]) -> None:
    """Raises Refused if two jobs of a sweep have the same run name."""
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise Refused(
            f"run={repeated} names one folder for {names.count(repeated)} runs; leave it out, and each gets its own, "
            "or name what differs: run='of_${seed}'"
        )


def identities_in(runs: Path) -> dict[str, Path]:
    """Returns the run folders below a folder by identity, the newest of equal ones. Damaged folders are ignored."""
    folders = {}
    for file in sorted(runs.rglob("config.yaml"), key=lambda file: file.stat().st_mtime):
        with suppress(Refused):
            RunFolder(file.parent).check_layout()
            folders[job_identity(to_dict(load_config(file)), read_inputs(file.parent))] = file.parent
    return folders


def job_identity(config: Mapping[str, Any], inputs: Sequence[Input]) -> str:
    """Returns a text that is equal for two configurations, with the files that they name, of the same run."""
    settings = {key: value for key, value in config.items() if key not in IGNORED_KEYS}
    files = sorted((each.key, each.text, each.digest) for each in inputs)
    return f"{OmegaConf.to_yaml(OmegaConf.create(settings), sort_keys=True)}{files}"


def folder_of(config: Mapping[str, Any], folders: Mapping[str, Path], runs: Path) -> Path | None:
    """Returns the folder with a configuration, and with its name if it has one.

    Raises Refused if that has another configuration.
    """
    path = folders.get(job_identity(config, list_inputs(config)))
    if not config.get("run"):
        return path
    named_path = runs / str(config["run"])
    if named_path in folders.values() and path != named_path:
        raise Refused(
            f"{named_path} was made with another configuration or other files; choose another run=, or replace it with "
            "overwrite=true"
        )
    return path if path == named_path else None


def is_done(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the run in a folder has ended by a limit of a configuration."""
    summary, stop = RunFolder(folder).summary(), config.get("stop") or {}
    reason = str(summary.get("exit"))
    if reason == "nash_conv":
        return float(summary.get("nash_conv", inf)) <= (stop.get("nash_conv") or 0)
    limit = stop.get("seconds") if reason == "seconds" else config.get(reason)
    amount = summary.get(main_unit(summary) if reason == "steps" else reason, 0)
    return limit is not None and amount >= float(limit)


def run_jobs(jobs: Sequence[Job], runs: Path, train: Train, runner: Runner = LOCAL) -> int:
    """Runs the jobs that are not done; returns 0, 1 if a job failed, or the code of a signal."""
    failures, missing = [], []
    for number, job in enumerate(jobs, start=1):
        head = f"job {number} of {len(jobs)}, {job.label}:"
        if job.folder and is_done(job.folder, job.config):
            print(f"{head} is done, in {job.folder}", flush=True)
        else:
            missing.append((head, job))
    for number, (code, text) in runner.complete(partial(run_job, runs=runs, train=train), missing):
        if text:
            print(text, end="", flush=True)
        if INTERRUPTION.signals:
            return code
        failures += [missing[number][1].label] if code else []
    if failures:
        print(f"{len(failures)} of {len(jobs)} jobs failed: {'; '.join(failures)}", file=sys.stderr)
    return FAILED if failures else 0


def run_job(headed: tuple[str, Job], runs: Path, train: Train) -> tuple[int, str]:
    """Runs a job with a headline; returns its exit code and, from a worker, what it printed.

    A worker uses one thread, unless `threads` is given, and may go on where another one died.
    """
    head, job = headed
    if not is_worker():
        print(head, flush=True)
        return attempt(job, train), ""
    job = job._replace(config={**job.config, "threads": job.config.get("threads") or 1})  # it is one of several workers
    if job.folder is None and not job.config.get("overwrite"):
        job = job._replace(folder=folder_of(job.config, identities_in(runs), runs))
    output = StringIO(f"{head}\n")
    output.seek(0, SEEK_END)
    with redirect_stdout(output), redirect_stderr(output):
        code = attempt(job, train)
    return code, output.getvalue()


def attempt(job: Job, train: Train) -> int:
    """Returns the exit code of one job. Its exceptions are printed, so that the other jobs still run."""
    try:
        return train(job.config, job.folder)
    except BrokenPipeError:  # output is closed for all jobs
        raise
    except (Refused, OSError) as error:
        print(describe(error), file=sys.stderr)
    except Exception:
        traceback.print_exc()
    return FAILED
