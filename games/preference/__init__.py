"""Preference games with prompts: prompts, answers, and judges who compare answers."""

from games.preference.game import PromptGame

__all__ = ["PromptGame"]
