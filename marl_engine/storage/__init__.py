"""Files that survive a kill and are shared by processes."""

from marl_engine.storage.append_only import AppendOnlyFile

__all__ = ["AppendOnlyFile"]
