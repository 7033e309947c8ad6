"""The cache folder on disk."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns the cache folder: $MARL_ENGINE_CACHE, or marl_engine in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MARL_ENGINE_CACHE") or Path(base) / "marl_engine")
