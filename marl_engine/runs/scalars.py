"""The curves of a run for TensorBoard."""

from collections.abc import Mapping
from math import inf
from pathlib import Path
from time import perf_counter

from marl_engine.evaluation.scores import BLOCK
from marl_engine.types import main_unit

WRITE_EVERY = 0.1  # seconds: iterations may be shorter than it takes to write their metrics


class Scalars:
    """Writes the metrics of records to a folder, at most every `WRITE_EVERY` seconds.

    What is measured between two writes is represented by the last value of each metric. `first_step` is that of the
    first record; later ones that a killed run has left in the folder are hidden.
    """

    def __init__(self, folder: Path, first_step: int):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), flush_secs=10, purge_step=first_step)
        self.last_write = -inf
        self.pending: dict[str, tuple[float, int]] = {}  # number and step of each metric

    def add(self, record: Mapping[str, float]) -> None:
        """Adds the metrics of a record, with its work as the step, but not means of blocks of games."""
        unit = main_unit(record)
        step = int(record[unit])
        shown = (name for name in record if name not in ("iteration", unit) and f"/{BLOCK}/" not in name)
        self.pending |= {name: (record[name], step) for name in shown}
        if perf_counter() - self.last_write >= WRITE_EVERY:
            self.write()

    def write(self) -> None:
        """Writes the last values of the metrics that were added since the last write."""
        for name, (number, step) in self.pending.items():
            self.writer.add_scalar(name, number, step)
        self.pending, self.last_write = {}, perf_counter()

    def close(self) -> None:
        """Writes what is left, and closes the files."""
        self.write()
        self.writer.close()
