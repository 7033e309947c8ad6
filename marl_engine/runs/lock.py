"""A lock for the folder of a run, which the operating system releases when the process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from marl_engine.errors import Refused

LOCK = ".lock"  # contains the number of the process


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """A context in which no other process can use a folder. The folder is created, and removed if it stays empty.

    Raises Refused if another process uses it.
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
    """Returns the handle of a folder's lock. Raises Refused."""
    while True:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(handle, 32).decode() or "that has just begun"
            os.close(handle)
            raise Refused(f"{folder} is in use by process {owner}; wait until it ends, or stop it") from error
        except OSError:  # a file system without locks
            break
        if same_file(handle, folder / LOCK):
            break
        os.close(handle)  # the process that had the lock has just removed the file
    os.truncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    return handle


def same_file(handle: int, path: Path) -> bool:
    """Whether an open file is still the file at a path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
