"""A free-for-all: P different entrants in the P seats of a game with more than two seats.

Each two entrants meet in `SHARED` line-ups or more, or in all that there are. On each deal a line-up plays one game in
each seating of a Williams design, which balances seats and neighbours. If there are few entrants, copies of an entrant
also meet others, which completes the payoff table of the game of choosing an entrant for each seat.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import comb
from typing import Any

import numpy as np

from marl_engine.errors import Refused
from marl_engine.ratings.lineups import Lineup
from marl_engine.ratings.results import Results, tabulate_lineups
from marl_engine.runners import LOCAL
from marl_engine.tournaments.field import Field
from marl_engine.tournaments.lineups.designs import choose_lineups, williams_design, with_copies
from marl_engine.tournaments.lineups.matches import LineupMatch, play_lineup, play_lineups_on_tree, weigh_lineups
from marl_engine.tournaments.lineups.store import Digests, LineupStore
from marl_engine.tournaments.matches import (
    StageProgress,
    Stretch,
    deal_seeds,
    list_stretches,
    play_jobs,
    play_on_tree,
    play_stretches,
)
from marl_engine.tournaments.tree_matches import TreePlay
from marl_engine.types import Runner

SHARED = 4  # line-ups in which each two entrants meet, unless there are fewer
PROFILES = 256  # entrants to the power of seats, up to which copies play, too


@dataclass
class FreeForAll:
    """The line-ups of a field. Raises Refused if the game or the entrants do not suit it.

    `tree` has the strategies of the entrants that are `tabular`, if the tree of the game is in memory.
    """

    field: Field
    store: LineupStore
    games: int  # in which each two entrants meet, at least
    exact: bool
    seed: int
    runner: Runner = LOCAL
    tree: TreePlay | None = None
    tabular: Sequence[bool] = ()

    def __post_init__(self) -> None:
        self.count, self.players = len(self.field.entrants), self.field.game.players
        name = type(self.field.game).__name__
        if self.players < 3:
            raise Refused(f"schedule=free_for_all is for games with more than two seats, unlike {name}; leave it out")
        if self.count < self.players:
            raise Refused(
                f"schedule=free_for_all needs {self.players} entrants or more, one for each seat of {name}, not "
                f"{self.count}; use schedule=round_robin, in which an entrant sits in several seats"
            )
        if any(each.games for each in self.field.entrants):
            raise Refused(
                "people play no new games, and in those that they played one run had all other seats, so they have no "
                "place in schedule=free_for_all; leave them out, or use schedule=round_robin"
            )
        self.seatings = len(williams_design(self.players))
        deals = -(-self.games // self.seatings)
        self.shared = min(comb(self.count - 2, self.players - 2), SHARED, deals)
        self.deals = -(-deals // self.shared)  # of each line-up
        self.store.agree(game=dict(self.field.section), seed=self.seed)

    def play(self) -> Iterator[StageProgress]:
        """Plays what is missing, and yields how far it is after every write."""
        for stage, lineups in self._stages(list(self.store.ends())):
            yield from self._play_stage(stage, lineups)

    def results(self) -> Results:
        """Returns the results of all entrants."""
        if self.exact:
            assert self.tree is not None
            lineups = [each for _, several in self._stages([]) for each in several]
            tallies = dict(zip(lineups, weigh_lineups(self.tree, np.array(lineups)), strict=True))
        else:
            tallies = {
                lineup: tally for digests, tally in self.store.tallies().items() for lineup in self._lineups_of(digests)
            }
        return tabulate_lineups([each.name for each in self.field.entrants], tallies, exact=self.exact)

    def _stages(self, played: Sequence[Digests]) -> Iterator[tuple[str, list[Lineup]]]:
        """Yields the stages: a title, and line-ups with entrants in the order of their digests."""
        before = [lineup for digests in played for lineup in self._lineups_of(digests)]
        different = [each for each in before if len(set(each)) == self.players]
        chosen = choose_lineups(self.count, self.players, self.shared)
        if not {tuple(sorted(each)) for each in different} <= set(chosen):  # there were fewer entrants or games
            chosen = choose_lineups(self.count, self.players, self.shared, different)
        yield "games", [self._order(each) for each in chosen]
        copies = with_copies(self.count, self.players) if self.count**self.players <= PROFILES else []
        if not copies and (self.exact or self._is_team()):
            copies = [(each,) * self.players for each in range(self.count)]
        yield "games with copies", [self._order(each) for each in copies]

    def _is_team(self) -> bool:
        """Whether all entrants earned the same in all games."""
        orders = [tally.orders for tally in self.store.tallies().values()]
        return all(set(places) == {0} for each in orders for places in each)

    def _order(self, lineup: Lineup) -> Lineup:
        """Returns a line-up with the entrants in the order of their digests."""
        return tuple(sorted(lineup, key=lambda each: (self.field.entrants[each].digest, each)))

    def _digests(self, lineup: Lineup) -> Digests:
        """Returns the digests of the entrants of a line-up."""
        return tuple(self.field.entrants[each].digest for each in lineup)

    def _lineups_of(self, digests: Digests) -> list[Lineup]:
        """Returns the line-ups with some digests: several if entrants are copies of each other, none if one is new."""
        numbers = [[n for n, each in enumerate(self.field.entrants) if each.digest == digest] for digest in digests]
        return list(dict.fromkeys(self._order(each) for each in product(*numbers)))

    def _play_stage(self, stage: str, lineups: Sequence[Lineup]) -> Iterator[StageProgress]:
        """Plays the line-ups of a stage."""
        ends, several = self.store.ends(), list({self._digests(each): each for each in lineups}.values())
        slow = any(each.slow for each in self.field.entrants)
        stretches = [
            stretch
            for each in several
            for stretch in list_stretches(each, ends.get(self._digests(each), 0), self.deals, slow)
        ]
        stretches.sort(key=lambda each: each.begin)
        yield from play_stretches(stage, stretches, len(several) * self.deals, self.seatings, self._alike, self._play)

    def _play(self, stretches: Sequence[Stretch]) -> Iterator[int]:
        """Plays stretches that are alike, and stores them; yields how many were stored at a time."""
        for some, tallies in self._tallies(stretches):
            self.store.add(
                stretches[0].begin, dict(zip((self._digests(each.entrants) for each in some), tallies, strict=True))
            )
            yield len(some)

    def _tallies(self, stretches: Sequence[Stretch]) -> Iterator[tuple[Sequence[Stretch], Any]]:
        """Yields stretches that are alike with their tallies, as they are played."""
        game, entrants, (_, begin, end) = self.field.game, self.field.entrants, stretches[0]
        if self._in_tree(stretches[0].entrants) and self.tree is not None:
            yield from play_on_tree(self.seed, entrants, stretches, partial(play_lineups_on_tree, self.tree))
            return
        lineups = [[entrants[each] for each in stretch.entrants] for stretch in stretches]
        matches = [LineupMatch(game, each, deal_seeds(self.seed, begin, end, each)) for each in lineups]
        yield from play_jobs(self.runner, play_lineup, matches, stretches)

    def _in_tree(self, lineup: Lineup) -> bool:
        """Whether a line-up is played by the compiled loop."""
        return all(self.tabular[each] for each in lineup)

    def _alike(self, one: Stretch, other: Stretch) -> bool:
        """Whether two stretches can be played together."""
        return one[1:] == other[1:] and self._in_tree(one.entrants) == self._in_tree(other.entrants)
