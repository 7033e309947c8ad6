"""Preference games: prompts, answers, and judges who compare them."""

from games.preference.game import Prompts

__all__ = ["Prompts"]
