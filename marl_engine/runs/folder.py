"""The folder of a run: configuration, metrics, checkpoints and summary."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from omegaconf import OmegaConf

from marl_engine.errors import Refused, choice
from marl_engine.runs import checkpoint
from marl_engine.runs.lock import LOCK
from marl_engine.runs.scalars import Scalars
from marl_engine.storage.mirror import Mirror
from marl_engine.types import main_unit

KEEP = 3  # checkpoints that are kept, besides the best one
DAMAGED_LINES = "metrics.damaged"  # damaged lines of metrics.jsonl are moved here
LAYOUT = 3  # number of the layout: class names in config.yaml and trees in checkpoints
LAYOUT_LINE = "# layout {}"  # the first line of config.yaml
LIBRARIES = ("marl_engine", "torch", "numpy", "numba", "hydra-core")


@dataclass
class RunFolder:
    """runs/NAME: config.yaml, metrics.jsonl, tensorboard/, checkpoints/, summary.json, and pictures."""

    path: Path
    mirror: Mirror | None = field(default=None, repr=False)  # keeps a copy elsewhere
    log_file: TextIO | None = field(default=None, init=False, repr=False)
    scalars: Scalars | None = field(default=None, init=False, repr=False)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def clear(self) -> None:
        """Removes everything in the folder except its lock."""
        self.close()
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes the composed configuration."""
        self.path.mkdir(parents=True, exist_ok=True)
        text = OmegaConf.to_yaml(OmegaConf.create(dict(config)))
        write_atomically(self.path / "config.yaml", f"{LAYOUT_LINE.format(LAYOUT)}\n{text}")

    def check_layout(self) -> None:
        """Raises Refused if another version of marl_engine wrote the folder with another layout."""
        file = self.path / "config.yaml"
        if file.is_file() and file.read_bytes().partition(b"\n")[0].decode(errors="replace") != LAYOUT_LINE.format(
            LAYOUT
        ):
            raise Refused(
                f"{self.path} was written by a version of marl_engine that has another layout of run folders than "
                f"this one (layout {LAYOUT}); train anew, or use the version that wrote it"
            )

    def config(self) -> dict[str, Any]:
        """Returns the configuration. Raises FileNotFoundError, and Refused for another layout."""
        self.check_layout()
        config = OmegaConf.to_container(OmegaConf.load(self.path / "config.yaml"))
        assert isinstance(config, dict)
        return {str(key): value for key, value in config.items()}

    def log(self, record: Mapping[str, float]) -> None:
        """Appends a record to metrics.jsonl and to TensorBoard. A later kill does not lose the line."""
        if self.log_file is None:
            self.log_file = self.metrics.open("a", encoding="utf-8")
        self.log_file.write(json.dumps(record) + "\n")
        self.log_file.flush()
        self.add_scalars(record)

    def replace_last(self, record: Mapping[str, float]) -> None:
        """Replaces the last record of metrics.jsonl, before any is appended. A kill leaves the old or the new one."""
        self.write_records([*self.records()[:-1], record])
        self.add_scalars(record)

    def write_records(self, records: Iterable[Mapping[str, float]]) -> None:
        """Writes metrics.jsonl anew."""
        write_atomically(self.metrics, "".join(json.dumps(record) + "\n" for record in records))

    def add_scalars(self, record: Mapping[str, float]) -> None:
        """Adds a record to TensorBoard; the first one of this object hides what an earlier run wrote from there on."""
        if self.scalars is None:
            self.scalars = Scalars(self.path / "tensorboard", first_step=int(record[main_unit(record)]))
        self.scalars.add(record)

    def records(self) -> list[dict[str, float]]:
        """Returns the records in metrics.jsonl, without damaged and incomplete lines."""
        return [record for line in self._lines() if (record := parse_record(line)) is not None]

    def _lines(self) -> list[bytes]:
        """Returns the lines of metrics.jsonl, without an incomplete last one."""
        lines = self.metrics.read_bytes().split(b"\n") if self.metrics.exists() else [b""]
        end = [lines[-1]] if parse_record(lines[-1]) else []
        return [line for line in lines[:-1] if line.strip()] + end

    def truncate_after(self, iteration: int) -> list[str]:
        """Removes records of iterations after a checkpoint, and moves damaged lines and checkpoints aside.

        Returns notes on lines that were moved.
        """
        checkpoint.quarantine(self.checkpoints)
        bad = [line for line in self._lines() if parse_record(line) is None]
        if bad:
            with open(self.path / DAMAGED_LINES, "ab") as file:
                file.writelines(line + b"\n" for line in bad)
        records = [record for record in self.records() if record["iteration"] <= iteration]
        if self.metrics.exists():
            self.write_records(records)
        count = "1 bad line of {} is" if len(bad) == 1 else f"{len(bad)} bad lines of {{}} are"
        return [f"{count.format(self.metrics)} now in {self.path / DAMAGED_LINES}"] if bad else []

    def save(self, iteration: int, state: dict[str, Any], best: int | None) -> None:
        """Writes a checkpoint; removes all but the newest valid ones and the best."""
        checkpoint.write(self.checkpoints, iteration, state)
        checkpoint.prune(self.checkpoints, KEEP, always=best)
        self.update_mirror()

    def update_mirror(self) -> None:
        """Copies what has changed, if there is a mirror."""
        if self.mirror is not None:
            self.mirror.update()

    def latest(self) -> tuple[int, dict[str, Any], list[str]]:
        """Returns iteration and state of the newest valid checkpoint, and notes on newer, damaged ones.

        Raises FileNotFoundError if there is none, and Refused for another layout.
        """
        self.check_layout()
        damages: list[str] = []
        for path in checkpoint.newest_first(self.checkpoints):
            try:
                return int(path.name), checkpoint.read(path), damages
            except checkpoint.Damaged as damage:
                damages.append(str(damage))
        raise FileNotFoundError(
            f"{self.checkpoints} has no checkpoint to go on from{': ' if damages else ''}{'; '.join(damages)}"
        )

    def summary(self) -> dict[str, Any]:
        """Returns the summary; empty if there is none, or if it cannot be read."""
        try:
            summary = json.loads((self.path / "summary.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return summary if isinstance(summary, dict) else {}

    def summarise(self, numbers: Mapping[str, Any]) -> None:
        """Writes summary.json, with the versions of libraries."""
        summary = {**numbers, "versions": versions(), "git_commit": git_commit()}
        write_atomically(self.path / "summary.json", json.dumps(summary, indent=2) + "\n")

    def close(self) -> None:
        """Closes metrics.jsonl and the writer of TensorBoard; a later record opens them again."""
        log_file, scalars, self.log_file, self.scalars = self.log_file, self.scalars, None, None
        if log_file is not None:
            log_file.close()
        if scalars is not None:
            scalars.close()


def nearby_runs(path: Path) -> str:
    """Returns a sentence part with the runs beside a path and in runs/, the most similar first."""
    runs = {str(each.parent) for folder in (path.parent, Path("runs")) for each in folder.glob("*/config.yaml")}
    return f"; choose from {choice(path, runs)}" if runs else ""


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that it has either the old or the new content, even after a crash or a power failure."""
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def parse_record(line: bytes) -> dict[str, float] | None:
    """Returns the record in a line of metrics.jsonl: numbers by name, with iteration and seconds.

    Returns None for any other line.
    """
    try:
        record = json.loads(line)
    except ValueError:
        return None
    is_record = isinstance(record, dict) and {"iteration", "seconds"} <= record.keys()
    return record if is_record and all(isinstance(number, int | float) for number in record.values()) else None


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that results depend on."""
    numbers = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            numbers[library] = version(library)
        except PackageNotFoundError:  # a checkout that is not installed
            numbers[library] = "not installed"
    return numbers


def git_commit() -> str | None:
    """Returns the git commit of the running code; None if it is not a git checkout."""
    folder = Path(__file__).parent
    try:
        result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def metric_column(records: Iterable[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Returns (work, values) of the records that have a metric; work is in its main unit."""
    rows = [record for record in records if name in record]
    return [record[main_unit(record)] for record in rows], [record[name] for record in rows]
