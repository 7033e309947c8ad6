"""A tournament: plays the matches of a schedule that are not in the store yet, and tabulates all of them.

Equal seeds give equal matches, in whatever order and by however many processes they are played: a match is a function
of the two entrants, the seed and its stretch of deals, and stretches end at fixed places.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from marl_engine.errors import Refused
from marl_engine.numerics.checks import check_number
from marl_engine.ratings.results import Results, swap, tabulate
from marl_engine.runners import LOCAL
from marl_engine.tournaments.answers import judges_texts
from marl_engine.tournaments.entrants import Entrant
from marl_engine.tournaments.field import Field
from marl_engine.tournaments.lineups import FreeForAll
from marl_engine.tournaments.lineups.store import LineupStore
from marl_engine.tournaments.matches import (
    FIRST_LOOK,
    Match,
    StageProgress,
    Stretch,
    deal_seeds,
    list_stretches,
    play_jobs,
    play_match,
    play_on_tree,
    play_stretches,
    seatings,
)
from marl_engine.tournaments.schedules import (
    FIELD,
    FREE_FOR_ALL,
    ROUND_ROBIN,
    SCHEDULES,
    SWISS,
    Pair,
    one_against_field,
    round_robin,
    self_pairs,
    spent_confidence,
    swiss_round,
    swiss_rounds,
    undecided,
)
from marl_engine.tournaments.store import MatchStore, Row
from marl_engine.tournaments.tree_matches import NUMBERS, is_tabular, play_pairs, prepare_tree_play, weigh_pairs
from marl_engine.types import Runner


@dataclass
class Tournament:
    """A field of entrants, and the games that they are to play. Raises Refused for options that do not go together."""

    field: Field
    store: MatchStore
    games: int = 200  # of each pair, over all seatings; at most, if there is a confidence
    schedule: str = ROUND_ROBIN
    rounds: int | None = None  # of a Swiss tournament; None: as many as a single winner needs, and two more
    confidence: float | None = None  # play until the ranking is decided with this confidence; None: play all games
    exact: bool = False  # compute expectations over all paths of the game tree, and play nothing
    seed: int = 0
    runner: Runner = LOCAL

    def __post_init__(self) -> None:
        check_number("games", self.games, least=1, whole=True)
        check_number("seed", self.seed, least=0, below=2**32, whole=True)
        if self.schedule not in SCHEDULES:
            raise Refused(f"schedule must be one of {', '.join(SCHEDULES)}, not {self.schedule!r}")
        if self.rounds is not None:
            check_number("rounds", self.rounds, least=1, whole=True)
            if self.schedule != SWISS:
                raise Refused(f"rounds= is for schedule={SWISS}; leave it out")
        if self.confidence is not None:
            check_number("confidence", self.confidence, above=0.5, below=1)
            if self.schedule in (SWISS, FREE_FOR_ALL) or self.exact:
                other = "exact=true" if self.exact else f"schedule={self.schedule}"
                raise Refused(f"confidence= does not go with {other}")
        game, entrants = self.field.game, self.field.entrants
        self.seatings = len(seatings(game.players))
        self.deals = -(-self.games // self.seatings)
        if self.schedule == SWISS and any(each.games for each in entrants):
            raise Refused(f"people play no new games, so they cannot be paired by schedule={SWISS}; choose another one")
        self.tree = prepare_tree_play(game, entrants)
        self.tabular = [self.tree is not None and is_tabular(each) for each in entrants]
        if self.exact and not all(self.tabular):
            raise Refused(self._why_not_exact())
        self.free_for_all = self._free_for_all() if self.schedule == FREE_FOR_ALL else None
        self.store.agree(game=dict(self.field.section), seed=self.seed)
        self.store.introduce((each.digest, each.name, each.origin) for each in entrants)

    def _free_for_all(self) -> FreeForAll:
        """Returns the tournament of line-ups. Raises Refused."""
        store = LineupStore(self.store.file.path.parent)
        return FreeForAll(self.field, store, self.games, self.exact, self.seed, self.runner, self.tree, self.tabular)

    @property
    def names(self) -> list[str]:
        """Returns the names of the entrants."""
        return [each.name for each in self.field.entrants]

    def play(self) -> Iterator[StageProgress]:
        """Plays what is missing, and yields how far it is after every write."""
        if self.exact:
            return
        if self.free_for_all is not None:
            yield from self.free_for_all.play()
            return
        self._count_recorded_games()
        for stage, pairs, deals in self._stages():
            yield from self._play_stage(stage, pairs, deals)

    def _count_recorded_games(self) -> None:
        """Adds the games of people to the store, numbered for each pair, so that none is added twice."""
        for person in self.field.entrants:
            numbers: Counter[str] = Counter()
            for other, tally in person.games:
                self.store.add([Row(person.digest, other, numbers[other], tally)])
                numbers[other] += 1

    def results(self, deals: int | None = None) -> Results:
        """Returns the results of all entrants, from the first `deals` deals of each pair."""
        if self.free_for_all is not None:
            return self.free_for_all.results()
        entrants = self.field.entrants
        tallies = np.zeros((len(entrants), len(entrants), NUMBERS))
        if self.exact:
            self._weigh(tallies)
            return tabulate(self.names, tallies, exact=True)
        stored = self.store.tallies(deals)
        for one, first in enumerate(entrants):
            for other, second in enumerate(entrants):
                key = min(first.digest, second.digest), max(first.digest, second.digest)
                if key in stored:
                    tallies[one, other] = stored[key] if key[0] == first.digest else swap(stored[key])
        return tabulate(self.names, tallies)

    def _weigh(self, tallies: np.ndarray) -> None:
        """Writes the expectations of all pairs into tallies (N, N, 9)."""
        assert self.tree is not None
        count = len(self.field.entrants)
        pairs = np.array([*round_robin(count), *self_pairs(count)])
        if self.schedule == FIELD:
            pairs = np.array(one_against_field(count))
        weighed = weigh_pairs(self.tree, pairs)
        tallies[pairs[:, 1], pairs[:, 0]] = swap(weighed)
        tallies[pairs[:, 0], pairs[:, 1]] = weighed

    def _stages(self) -> Iterator[tuple[str, Sequence[Pair], int]]:
        """Yields stages of the schedule: a title, pairs, and the number of deals that each of them must have played."""
        count = len(self.field.entrants)
        if self.schedule == SWISS:
            yield from self._swiss_stages(count)
        else:
            pairs = one_against_field(count) if self.schedule == FIELD else round_robin(count)
            yield from [("games", pairs, self.deals)] if self.confidence is None else self._looks(pairs)
        results = self.results()
        if np.array_equal(results.draws, results.games):  # nobody ever won, as in a team
            yield "self-play", self_pairs(count), self.deals

    def _swiss_stages(self, count: int) -> Iterator[tuple[str, Sequence[Pair], int]]:
        """Yields the rounds of a Swiss tournament, whose pairs depend on the rounds before only."""
        met: list[Pair] = []
        rounds = self.rounds or swiss_rounds(count)
        for number in range(rounds):
            pairs = swiss_round(restrict(self.results(self.deals), met))
            yield f"round {number + 1} of {rounds}", pairs, self.deals
            met += pairs

    def _looks(self, pairs: Sequence[Pair]) -> Iterator[tuple[str, Sequence[Pair], int]]:
        """Yields stages with ever more deals of the pairs whose entrants are not yet in a certain order."""
        assert self.confidence is not None
        doubtful, deals, look = set(range(len(self.field.entrants))), min(FIRST_LOOK, self.deals), 1
        while doubtful:
            chosen = [pair for pair in pairs if doubtful & set(pair)]
            yield f"look {look}", chosen, deals
            if deals == self.deals:
                return
            doubtful = set(undecided(self.results(deals), spent_confidence(self.confidence, look)))
            deals, look = min(2 * deals, self.deals), look + 1

    def _play_stage(self, stage: str, pairs: Sequence[Pair], deals: int) -> Iterator[StageProgress]:
        """Plays the pairs of a stage up to a number of deals."""
        ends = self.store.ends()
        present = [pair for pair in pairs if not any(self.field.entrants[each].games for each in pair)]
        pairs = list({self._key(pair): pair for pair in present}.values())  # copies of an entrant share its matches
        stretches = [each for pair in pairs for each in self._missing(pair, ends.get(self._key(pair), 0), deals)]
        stretches.sort(key=lambda each: (self._in_tree(each.entrants), each.begin, each.end))
        yield from play_stretches(stage, stretches, len(pairs) * deals, self.seatings, self._alike, self._play)

    def _missing(self, pair: Pair, begin: int, end: int) -> Iterator[Stretch]:
        """Returns the stretches of a pair from its last deal on."""
        return list_stretches(pair, begin, end, any(self.field.entrants[each].slow for each in pair))

    def _play(self, stretches: Sequence[Stretch]) -> Iterator[int]:
        """Plays stretches that are alike, and stores them; yields how many were stored at a time."""
        entrants = self.field.entrants
        for some, tallies in self._tallies(stretches):
            self.store.add(
                Row(entrants[one].digest, entrants[other].digest, begin, tally)
                for ((one, other), begin, _), tally in zip(some, tallies, strict=True)
            )
            yield len(some)

    def _tallies(self, stretches: Sequence[Stretch]) -> Iterator[tuple[Sequence[Stretch], Any]]:
        """Yields stretches that are alike with their tallies (9,), as they are played."""
        game, entrants, (_, begin, end) = self.field.game, self.field.entrants, stretches[0]
        if self._in_tree(stretches[0].entrants) and self.tree is not None:
            yield from play_on_tree(self.seed, entrants, stretches, partial(play_pairs, self.tree))
            return
        pairs = [(entrants[one], entrants[other]) for one, other in (each.entrants for each in stretches)]
        matches = [
            Match(game, *pair, deal_seeds(self.seed, begin, end, () if judges_texts(game) else pair)) for pair in pairs
        ]
        yield from play_jobs(self.runner, play_match, matches, stretches)

    def _in_tree(self, pair: tuple[int, ...]) -> bool:
        """Whether a pair is played by the compiled loop."""
        return all(self.tabular[each] for each in pair)

    def _alike(self, one: Stretch, other: Stretch) -> bool:
        """Whether two stretches can be played together."""
        return one[1:] == other[1:] and self._in_tree(one.entrants) == self._in_tree(other.entrants)

    def _key(self, pair: Pair) -> tuple[str, str]:
        """Returns the digests of a pair, the smaller one first."""
        one, other = sorted(self.field.entrants[each].digest for each in pair)
        return one, other

    def _why_not_exact(self) -> str:
        """Returns why expectations cannot be computed."""
        if self.tree is None:
            kind = type(self.field.game).__name__
            return f"exact=true needs a game whose tree is in memory, unlike {kind}; leave it out"
        other: Entrant = next(e for e, known in zip(self.field.entrants, self.tabular, strict=True) if not known)
        return f"exact=true needs entrants that are strategies, unlike {other.name}; leave out one of them"


def restrict(results: Results, pairs: Sequence[Pair]) -> Results:
    """Returns results of which all but some pairs have not met."""
    keep = np.zeros_like(results.games, dtype=bool)
    for one, other in pairs:
        keep[one, other] = keep[other, one] = True
    games, payoff = np.where(keep, results.games, 0), np.where(keep, results.payoff, np.nan)
    return results._replace(games=games, payoff=payoff)
