"""Games solved, learned and rated: one engine for tables, networks and language models."""

__version__ = "0.1.0"
