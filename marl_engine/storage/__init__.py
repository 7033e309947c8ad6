"""Files that survive a kill and are shared by processes, and copies of run folders on object storage."""

from marl_engine.storage.append_only import AppendOnlyFile
from marl_engine.storage.mirror import Mirror, fetch_folder, is_url

__all__ = ["AppendOnlyFile", "Mirror", "fetch_folder", "is_url"]
