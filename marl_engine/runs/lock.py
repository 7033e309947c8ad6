"""One process for each folder of a run: a lock that ends with its process, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from marl_engine.errors import Refused

LOCK = ".lock"  # the file that is locked; it holds the number of the process


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within it no other process has the folder, which is made if it is not there, and goes if it is empty afterwards.

    Raises Refused where another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        handle = acquire(folder)
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)
            os.close(handle)
    finally:
        with suppress(OSError):
            os.removedirs(folder)


def acquire(folder: Path) -> int:
    """The open lock of a folder, as a file handle. Raises Refused."""
    while True:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(handle, 32).decode() or "that has just begun"
            os.close(handle)
            raise Refused(f"{folder} is in use by process {owner}; wait until it ends, or stop it") from error
        except OSError:  # a disk that knows no locks
            break
        if is_named(handle, folder / LOCK):
            break
        os.close(handle)  # its process ended and took it away between our two calls
    os.truncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    return handle


def is_named(handle: int, path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
