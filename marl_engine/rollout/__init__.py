"""Profiles play games: stretches to learn from, and whole games."""
