"""Tournaments: entrants of any kind play each other, every match is kept, and the results are rated.

field = enter(["runs/first", "runs/second", "random"])
tournament = Tournament(field, MatchStore(Path("runs/cup")), games=200)
for progress in tournament.play():
    print(progress)
print(rank(tournament.results()))
"""

from marl_engine.tournaments.entrants import Entrant
from marl_engine.tournaments.field import Field, enter
from marl_engine.tournaments.store import MatchStore
from marl_engine.tournaments.tournament import Tournament

__all__ = ["Entrant", "Field", "MatchStore", "Tournament", "enter"]
