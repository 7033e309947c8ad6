"""Judges of answers: raters, text scores, learned models, and language models behind an endpoint."""

from games.preference.judges.learned import LearnedJudge
from games.preference.judges.llm_endpoint import LLMJudge
from games.preference.judges.raters import RaterJudge

__all__ = ["LLMJudge", "LearnedJudge", "RaterJudge"]
