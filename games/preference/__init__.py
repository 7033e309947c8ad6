"""Preference games: prompts, answers, and judges who compare them."""

from games.preference.game import PromptGame

__all__ = ["PromptGame"]
