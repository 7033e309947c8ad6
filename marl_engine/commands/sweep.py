"""Several runs, one after the other: a bad one ends alone, and a sweep that is repeated goes on with what is missing.

A job is the run of its configuration, whatever the folder is called: where a folder of runs/ was made with it and has
come to an end, the job is done; where it was interrupted, killed or halted, the job goes on there.
"""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from marl_engine.commands.command_line.cli_config import loaded, plain
from marl_engine.errors import Refused, describe
from marl_engine.interruption import INTERRUPTION
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.inputs import Input, kept_in, look
from marl_engine.types import main_unit

FAILED = 1
BESIDE = {"run", "resume", "overwrite", "threads"}  # keys that say where a run lives and on what, not what it is


class Job(NamedTuple):
    """One run of a sweep."""

    label: str  # the words of the command line in which it differs from others
    config: Mapping[str, Any]
    folder: Path | None  # of the run of this configuration, if there is one


def jobs_of(words: Sequence[Sequence[str]], configs: Sequence[Mapping[str, Any]], runs: Path) -> list[Job]:
    """The jobs of a sweep, with the folders below `runs` that they go on in. Raises Refused where two share one."""
    check_names([config["run"] for config in configs if config.get("run")])
    made = identities_in(runs)
    common = set.intersection(*map(set, words))
    jobs = []
    for each, config in zip(words, configs, strict=True):
        label = " ".join(word for word in each if word not in common) or " ".join(each)
        jobs.append(Job(label, config, None if config.get("overwrite") else folder_of(config, made, runs)))
    return jobs


def check_names(names: Sequence[str]) -> None:
    """Raises Refused where two jobs of a sweep have the same name of a folder."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Refused(
            f"run={twice} names one folder for {names.count(twice)} runs; leave it out, and each gets its own, "
            "or name what differs: run='of_${seed}'"
        )


def identities_in(runs: Path) -> dict[str, Path]:
    """The folders of runs below a folder by their identity, the newest of equals; damaged ones are of no job."""
    folders = {}
    for file in sorted(runs.rglob("config.yaml"), key=lambda file: file.stat().st_mtime):
        with suppress(Refused):
            RunFolder(file.parent).check_layout()
            folders[identity(plain(loaded(file)), kept_in(file.parent))] = file.parent
    return folders


def identity(config: Mapping[str, Any], inputs: Sequence[Input]) -> str:
    """A text that two configurations share if and only if they, and the files that they name, make the same run."""
    own = {key: value for key, value in config.items() if key not in BESIDE}
    files = sorted((each.key, each.text, each.digest) for each in inputs)
    return f"{OmegaConf.to_yaml(OmegaConf.create(own), sort_keys=True)}{files}"


def folder_of(config: Mapping[str, Any], made: Mapping[str, Path], runs: Path) -> Path | None:
    """The folder made with a configuration: of its name, if it has one. Raises Refused for one made with another."""
    path = made.get(identity(config, look(config)))
    if not config.get("run"):
        return path
    named = runs / str(config["run"])
    if named in made.values() and path != named:
        raise Refused(
            f"{named} was made with another configuration or other files; choose another run=, or replace it with "
            "overwrite=true"
        )
    return path if path == named else None


def is_done(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the run in a folder has come to an end that a configuration gives it."""
    summary, stop = RunFolder(folder).summary(), config.get("stop") or {}
    reason = str(summary.get("exit"))
    if reason == "nash_conv":
        return float(summary.get("nash_conv", inf)) <= (stop.get("nash_conv") or 0)
    limit = stop.get("seconds") if reason == "seconds" else config.get(reason)
    spent = summary.get(main_unit(summary) if reason == "steps" else reason, 0)
    return limit is not None and spent >= float(limit)


def carry_out(jobs: Sequence[Job], train: Callable[[Mapping[str, Any], Path | None], int]) -> int:
    """Runs what is not done yet; returns 0, 1 where a job failed, or the code of the signal that ended the sweep."""
    failures = []
    for number, job in enumerate(jobs, start=1):
        if job.folder and is_done(job.folder, job.config):
            print(f"job {number} of {len(jobs)}, {job.label}: is done, in {job.folder}", flush=True)
            continue
        print(f"job {number} of {len(jobs)}, {job.label}:", flush=True)
        code = attempt(job, train)
        if INTERRUPTION.signals:
            return code
        failures += [job.label] if code else []
    if failures:
        print(f"{len(failures)} of {len(jobs)} jobs failed: {'; '.join(failures)}", file=sys.stderr)
    return FAILED if failures else 0


def attempt(job: Job, train: Callable[[Mapping[str, Any], Path | None], int]) -> int:
    """The exit code of one job; what ends it ends no other."""
    try:
        return train(job.config, job.folder)
    except BrokenPipeError:  # nobody reads what any of them says
        raise
    except (Refused, OSError) as error:
        print(describe(error), file=sys.stderr)
    except Exception:
        traceback.print_exc()
    return FAILED
