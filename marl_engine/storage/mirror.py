"""Copies of run folders on object storage, or anywhere else that fsspec reaches.

A machine that can be taken away, with its disk, leaves the copy behind, and another one goes on from there.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from marl_engine.errors import Notice, Refused, describe

Stamp = tuple[int, int]  # size and time of change of a file
LAST = "manifest.json"  # makes a checkpoint valid, so it is copied after the other files


def is_url(text: object) -> bool:
    """Whether a text is a URL, such as s3://bucket/runs, rather than a path."""
    return "://" in str(text)


def open_storage(url: str, key: str) -> tuple[Any, str]:
    """Returns the file system of fsspec for a URL, and the path in it.

    `key` is the name by which the user knows the URL. Raises Refused if the file system is unknown or not installed.
    """
    from fsspec.core import url_to_fs

    if not is_url(url):
        raise Refused(f"{key} takes a URL, such as s3://bucket/runs or file:///mnt/runs, not {url!r}")
    try:
        files, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise Refused(f"{key}={url}: {describe(error)}") from error
    return files, path.rstrip("/")


class Mirror:
    """Keeps a copy of a folder at URL/NAME, where NAME is the folder's name.

    Checkpoints are copied before what refers to them, and files that are gone here are removed there at the end, so the
    copy always has a valid checkpoint. Raises Refused for a URL that is not reached.
    """

    def __init__(self, url: str, folder: Path):
        self.folder, self.url = folder, f"{url.rstrip('/')}/{folder.name}"
        self.files, self.path = open_storage(self.url, "mirror")
        self.copied: dict[str, Stamp] = {}  # by path in the folder

    def check_free(self) -> None:
        """Raises Refused if another run is there, or if the storage does not answer."""
        try:
            taken = self.files.exists(f"{self.path}/config.yaml")
        except Exception as error:  # libraries of storages have exceptions of their own
            raise Refused(f"mirror={self.url}: {describe(error)}") from error
        if taken:
            raise Refused(f"{self.url} exists; choose another run=, go on with resume={self.url}, or overwrite=true")

    def update(self) -> None:
        """Copies what has changed. If that fails, it warns, and the next call tries again: the run goes on."""
        try:
            self._update()
        except Exception as error:  # libraries of storages have exceptions of their own
            warnings.warn(
                Notice(f"{self.url} is behind {self.folder}: {describe(error)}; the next checkpoint tries again"),
                stacklevel=2,
            )

    def _update(self) -> None:
        now = {name: stamp_of(self.folder / name) for name in names_in(self.folder)}
        for name in sorted(now, key=copying_order):
            if self.copied.get(name) != now[name]:
                target = f"{self.path}/{name}"
                self.files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self.files.put_file(str(self.folder / name), target)
                self.copied[name] = now[name]
        for name in outdated(now, {relative_name(target, self.path) for target in self.files.find(self.path)}):
            self.files.rm(f"{self.path}/{name}", recursive=True)
        self.copied = now


def outdated(here: Iterable[str], there: Iterable[str]) -> list[str]:
    """Returns the files that are there only, or the outermost folders that have nothing else."""
    kept = {str(place) for name in here for place in (PurePosixPath(name), *PurePosixPath(name).parents)}
    lines = [[*reversed(PurePosixPath(name).parents), PurePosixPath(name)] for name in there]
    gone = [next((str(place) for place in line if str(place) not in kept), None) for line in lines]
    return sorted({place for place in gone if place is not None})


def copying_order(name: str) -> tuple[bool, bool, str]:
    """Returns the key of sorting: checkpoints first, and in each the file that makes it valid last."""
    return not name.startswith("checkpoints/"), PurePosixPath(name).name == LAST, name


def names_in(folder: Path) -> list[str]:
    """Returns the paths of the files in a folder, without those that exist for moments only."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return [
        path.as_posix()
        for path in paths
        if not any(part.startswith(".") for part in path.parts) and not path.name.endswith("-shm")
    ]


def relative_name(target: str, path: str) -> str:
    """Returns the path of a file below `path` of a storage, which may or may not begin with a slash."""
    return target.lstrip("/").removeprefix(path.lstrip("/")).lstrip("/")


def stamp_of(path: Path) -> Stamp:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def fetch_folder(url: str, runs: Path) -> Path:
    """Copies the folder of a run from a URL into `runs`; returns its path there.

    Raises Refused if there is none at the URL, or if a folder of that name is already here.
    """
    files, path = open_storage(url, "resume")
    folder = runs / path.rpartition("/")[2]
    if folder.exists():
        raise Refused(f"{folder} exists; go on with resume={folder}, or move it away to take the copy at {url}")
    try:
        found = files.find(path)
        if not any(relative_name(target, path) == "config.yaml" for target in found):
            raise Refused(f"there is no run to resume at {url}")
        partial = runs / f".{folder.name}.partial"
        for target in found:
            here = partial / relative_name(target, path)
            here.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(target, str(here))
    except Refused:
        raise
    except Exception as error:  # libraries of storages have exceptions of their own
        raise Refused(f"resume={url}: {describe(error)}") from error
    partial.rename(folder)
    return folder
