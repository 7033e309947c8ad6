"""The folder of a run: what was asked, what was measured, where to go on, and how it ended."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from marl_engine.errors import Refused
from marl_engine.runs import checkpoint
from marl_engine.runs.lock import LOCK
from marl_engine.types import main_unit

KEPT = 3  # checkpoints, and the best one beside them
BAD_LINES = "metrics.damaged"  # what was found between the records of metrics.jsonl
LAYOUT = 2  # of run folders, with the class names in config.yaml and the trees in checkpoints; 1 wrote no number
LAYOUT_LINE = "# layout {}"  # the first line of config.yaml
LIBRARIES = ("marl_engine", "torch", "numpy", "numba", "hydra-core")


@dataclass
class RunFolder:
    """runs/NAME: config.yaml, metrics.jsonl, tensorboard/, checkpoints/, summary.json, curve.png, replay.gif."""

    path: Path
    writer: Any = field(default=None, init=False, repr=False)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def clear(self) -> None:
        """Takes away all that is in the folder but its lock."""
        for each in self.path.iterdir():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            elif each.name != LOCK:
                each.unlink()

    def write_config(self, config: Mapping[str, Any]) -> None:
        """The composed configuration, for `resume` and for readers."""
        self.path.mkdir(parents=True, exist_ok=True)
        text = OmegaConf.to_yaml(OmegaConf.create(dict(config)))
        replace(self.path / "config.yaml", f"{LAYOUT_LINE.format(LAYOUT)}\n{text}")

    def check_layout(self) -> None:
        """Raises Refused where a version of marl_engine with another layout of run folders wrote this one."""
        file = self.path / "config.yaml"
        if file.is_file() and file.read_bytes().partition(b"\n")[0].decode(errors="replace") != LAYOUT_LINE.format(
            LAYOUT
        ):
            raise Refused(
                f"{self.path} was written by a version of marl_engine that lays out run folders in another way than "
                f"this one (layout {LAYOUT}); train anew, or use the version that wrote it"
            )

    def config(self) -> dict[str, Any]:
        """What `write_config` wrote. Raises FileNotFoundError, and Refused for another layout."""
        self.check_layout()
        found = OmegaConf.to_container(OmegaConf.load(self.path / "config.yaml"))
        assert isinstance(found, dict)
        return {str(key): value for key, value in found.items()}

    def log(self, record: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, and the same for TensorBoard."""
        with open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            first = int(record[main_unit(record)])  # what a run that was killed wrote from here on is not shown
            self.writer = SummaryWriter(str(self.path / "tensorboard"), flush_secs=10, purge_step=first)
        for name, number in record.items():
            if name not in ("iteration", main_unit(record)):
                self.writer.add_scalar(name, number, int(record[main_unit(record)]))

    def records(self) -> list[dict[str, float]]:
        """The lines of metrics.jsonl that are records; bad ones, and one that a kill cut short, are left out."""
        return [record for line in self._lines() if (record := record_in(line)) is not None]

    def _lines(self) -> list[bytes]:
        """Of metrics.jsonl, without an end that is still being written, or was when a kill cut it short."""
        lines = self.metrics.read_bytes().split(b"\n") if self.metrics.exists() else [b""]
        end = [lines[-1]] if record_in(lines[-1]) else []
        return [line for line in lines[:-1] if line.strip()] + end

    def go_on_after(self, iteration: int) -> list[str]:
        """Drops what was measured after a checkpoint, and puts aside what is damaged; returns what that was."""
        checkpoint.quarantine(self.checkpoints)
        bad = [line for line in self._lines() if record_in(line) is None]
        if bad:
            with open(self.path / BAD_LINES, "ab") as file:
                file.writelines(line + b"\n" for line in bad)
        records = [record for record in self.records() if record["iteration"] <= iteration]
        if self.metrics.exists():
            replace(self.metrics, "".join(json.dumps(record) + "\n" for record in records))
        count = "1 bad line of {} is" if len(bad) == 1 else f"{len(bad)} bad lines of {{}} are"
        return [f"{count.format(self.metrics)} now in {self.path / BAD_LINES}"] if bad else []

    def save(self, iteration: int, state: dict[str, Any], best: int | None) -> None:
        """A checkpoint; the newest few that are whole and the best one stay."""
        checkpoint.write(self.checkpoints, iteration, state)
        checkpoint.prune(self.checkpoints, KEPT, always=best)

    def latest(self) -> tuple[int, dict[str, Any], list[str]]:
        """Iteration and state of the newest checkpoint that is whole, and what is wrong with newer ones.

        Raises FileNotFoundError when there is none, and Refused for another layout.
        """
        self.check_layout()
        damages: list[str] = []
        for iteration, state in checkpoint.readable(self.checkpoints):
            if isinstance(state, dict):
                return iteration, state, damages
            damages.append(str(state))
        raise FileNotFoundError(
            f"{self.checkpoints} has no checkpoint to go on from{': ' if damages else ''}{'; '.join(damages)}"
        )

    def summary(self) -> dict[str, Any]:
        """What `summarise` wrote; nothing where there is none, or none that can be read."""
        try:
            summary = json.loads((self.path / "summary.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return summary if isinstance(summary, dict) else {}

    def summarise(self, found: Mapping[str, Any]) -> None:
        """summary.json, with the versions that made it."""
        whole = {**found, "versions": versions(), "git_commit": git_commit()}
        replace(self.path / "summary.json", json.dumps(whole, indent=2) + "\n")

    def close(self) -> None:
        """Flushes TensorBoard."""
        if self.writer is not None:
            self.writer.close()


def replace(path: Path, text: str) -> None:
    """Writes a file so that it is the old one or the new one, whenever the process dies or the power fails."""
    aside = path.with_name(f".{path.name}.partial")
    with open(aside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def record_in(line: bytes) -> dict[str, float] | None:
    """The record that a line of metrics.jsonl holds: numbers by name, the iteration and the seconds among them."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and {"iteration", "seconds"} <= record.keys()
    return record if whole and all(isinstance(number, int | float) for number in record.values()) else None


def versions() -> dict[str, str]:
    """Of Python and of the libraries that results depend on."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[library] = "not installed"
    return found


def git_commit() -> str | None:
    """The commit of the checkout that the code runs from, if it is one."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def column(records: Iterable[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """(work, values) of the records that have a metric, the work in its main unit."""
    having = [record for record in records if name in record]
    return [record[main_unit(record)] for record in having], [record[name] for record in having]
