"""Presets for Hydra: one group a folder, one preset a file."""
