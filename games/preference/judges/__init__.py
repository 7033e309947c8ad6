"""Judges of answers: raters, text scores, learned models, language models behind an endpoint."""

from games.preference.judges.learned import Learned
from games.preference.judges.llm_endpoint import Endpoint
from games.preference.judges.raters import Raters

__all__ = ["Endpoint", "Learned", "Raters"]
