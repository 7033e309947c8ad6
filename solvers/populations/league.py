"""League training: a main agent, and exploiters that show it what it loses to.

Vinyals et al. 2019, Nature 575:350, methods, "Multi-agent learning". There are three learners, and a league of frozen
copies of them:

    main agent        35 % itself; 50 % the whole league by `f_hard`; 15 % members that it beats in less than half of
                      games, among them mains that it has forgotten how to beat
    main exploiter    the main agent, or if it hardly ever wins against that, frozen mains by `f_var`
    league exploiter  the whole league by `f_hard`

The main agent joins the league at first, and after every `generation` iterations. An exploiter then joins it, and
begins anew, if it beats its opponents in `beaten` of games, or after `patience` generations. In each iteration
opponents are the agents of its beginning, so the learners are jobs that do not depend on each other, and a runner with
workers trains them at the same time. Departures: win rates are measured in games of their own, when a generation ends;
exploiters begin with new weights, since there are no supervised ones. For two-player zero-sum games.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np

from marl_engine.evaluation.exploitability import measure_nash_conv
from marl_engine.evaluation.report import deviations
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import get_state, resume_field, set_fields, set_state
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.populations.pool import Pool
from marl_engine.responders.learners.learner import (
    Learner,
    Training,
    check_learners,
    number_learner,
    train_learners,
)
from marl_engine.responders.regulariser import check_supports
from marl_engine.rollout.shards import Lineup, score_lineups
from marl_engine.runners import LOCAL
from marl_engine.types import Metrics, Opponents, Profile, Progress, Responder, Runner, Step, Work
from solvers.populations.matchmaking import WinRates, count_wins, f_hard, f_var, prioritise

MATCHES = 2**45  # separates the games that measure win rates from those of learning
SELF_PLAY, PRIORITISED, FORGOTTEN = 0.35, 0.5, 0.15  # shares of the main agent's games
HOPELESS = 0.1  # win rate against the main agent below which an exploiter learns from easier opponents first
MAIN = 0  # of the kinds of members; an exploiter's kind is its place among the exploiters, plus 1


@dataclass
class Arena:
    """Plays `games` games of a learner from each seat with each opponent, and counts these matches."""

    responder: Responder
    runner: Runner
    games: int
    matches: int = 0

    def win_rates(self, learner: Profile, opponents: Sequence[Profile]) -> list[float]:
        """Returns how often a learner beats each opponent (n,)."""
        self.matches += len(opponents)
        seeds = derive_seeds(self.responder.seed + MATCHES, self.games).to(self.responder.device)
        lineups = [Lineup(each) for opponent in opponents for each in deviations(learner, opponent)]
        payoffs = iter(score_lineups(self.runner, self.responder.game, lineups, seeds))
        return [count_wins(list(islice(payoffs, len(learner)))) for _ in opponents]


class Exploiter:
    """A learner that joins the league from time to time; `rates` are its win rates against the members."""

    STATE = ("learner", "rates", "against_main", "number", "age")

    def __init__(self, responder: Responder, number: int):
        self.responder, self.number, self.learner = responder, number, number_learner(responder, number)
        self.rates, self.against_main = WinRates(), 0.5
        self.age = 0  # generations since it began

    def measure(self, arena: Arena, members: Sequence[Profile], main: Profile) -> None:
        """Plays matches with all members of the league and with the main agent."""
        self.rates.record(arena.win_rates(self.learner.profile, members))
        (self.against_main,) = arena.win_rates(self.learner.profile, [main])

    def measure_newcomers(self, arena: Arena, members: Sequence[Profile]) -> None:
        """Plays matches with the members of the league that it has not met."""
        known = len(self.rates.wins)
        self.rates.record(arena.win_rates(self.learner.profile, members[known:]), known)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Makes the learner with the saved number, and restores all; see `set_state`."""
        self.learner = number_learner(self.responder, state["number"])
        set_fields(self, state)


@dataclass
class League:
    """Plays against: members of the league, by win rate. Anchored to: nothing. Yields the main agent.

    Raises ValueError for numbers out of range, and for games without two players.
    """

    STATE = ("population", "kinds", "rates", "exploiters", "begun")
    concurrent = True

    generation: int = 20  # iterations, in each of which every learner takes a step of the responder
    games: int = 128  # of each seat, to measure a win rate
    beaten: float = 0.7  # win rate at which an exploiter has done its work
    patience: int = 5  # generations until an exploiter begins anew in any case

    def __post_init__(self) -> None:
        check_fields("solver", self, "generation", "games", "patience", least=1, whole=True)
        check_fields("solver", self, "beaten", above=0, most=1)
        self.population: Pool | None = None
        self.rates: WinRates | None = None  # of the main agent against the members
        self.exploiters: list[Exploiter] | None = None  # of the main agent, of the league
        self.kinds: list[int] = []  # of the members
        self.begun = 0  # learners so far

    def solve(
        self, profile: Profile, responder: Responder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. The profile is the main agent."""
        check_supports(responder, type(self).__name__, "opponents")
        check_learners(responder, type(self).__name__)
        if len(profile) != 2:
            raise ValueError(f"League is for games of two players, not {len(profile)}")
        return self._solve(profile, responder, runner, after)

    def _solve(self, profile: Profile, responder: Responder, runner: Runner, after: int) -> Iterator[Progress]:
        league = resume_field(self, "population", Pool(profile), after)
        rates = resume_field(self, "rates", WinRates(), after)
        exploiters = resume_field(self, "exploiters", [Exploiter(responder, number) for number in (0, 1)], after)
        if after == 0:
            self.kinds, self.begun = [], len(exploiters)
        for iteration in count(after + 1):
            work = Work()
            if not len(league) or (iteration - 1) % self.generation == 0:
                work += self.begin_generation(profile, responder, runner)
            step = self.learn(Learner(profile, responder), runner)
            work += step.work
            metrics = step.metrics | self.describe(league, rates, exploiters)
            yield Progress(iteration, profile, metrics | measure_nash_conv(responder, profile), work)

    def learn(self, main: Learner, runner: Runner) -> Step:
        """Trains all learners by a step each; returns the metrics of the main agent and the work of all."""
        league, rates, exploiters = self.population, self.rates, self.exploiters
        assert league is not None
        assert rates is not None
        assert exploiters is not None
        (first, second), itself = exploiters, freeze(main.profile)
        trainings = [
            Training(main, oppose_main(itself, league, rates)),
            Training(first.learner, oppose_main_exploiter(first, itself, league, self.kinds)),
            Training(second.learner, oppose_league_exploiter(second, league)),
        ]
        (trained, step), (first.learner, one), (second.learner, other) = train_learners(trainings, runner, if_idle=True)
        if trained is not main:
            set_state(main, get_state(trained))
        return step._replace(work=step.work + one.work + other.work)

    def begin_generation(self, profile: Profile, responder: Responder, runner: Runner) -> Work:
        """Freezes learners that are ready, and measures the win rates of all learners."""
        league, rates, exploiters = self.population, self.rates, self.exploiters
        assert league is not None
        assert rates is not None
        assert exploiters is not None
        arena, opens = Arena(responder, runner, self.games), not len(league)
        league.add(profile)
        self.kinds.append(MAIN)
        for each in exploiters:
            each.measure(arena, league.opponents().members, profile)
        if not opens:
            self.replace_exploiters(league, exploiters, responder)
        members = league.opponents().members
        rates.record(arena.win_rates(profile, members))
        for each in exploiters:
            if each.rates.wins:
                each.measure_newcomers(arena, members)
            else:
                each.measure(arena, members, profile)
        return Work(queries=arena.matches)

    def replace_exploiters(self, league: Pool, exploiters: list[Exploiter], responder: Responder) -> None:
        """Lets exploiters join the league that have done their work or run out of time; others begin in their place."""
        for place, each in enumerate(exploiters):
            each.age += 1
            wins = each.against_main if place == 0 else float(each.rates.rates().mean())
            if wins >= self.beaten or each.age >= self.patience:
                league.add(each.learner.profile)
                self.kinds.append(place + 1)
                exploiters[place] = Exploiter(responder, self.begun)
                self.begun += 1

    def describe(self, league: Pool, rates: WinRates, exploiters: list[Exploiter]) -> Metrics:
        """Returns the size of the league by kind, and the win rates of its learners."""
        kinds = Counter(self.kinds)
        return {
            "members": float(len(league)),
            "members/exploiters": float(len(league) - kinds[MAIN]),
            "win_rate/league": float(rates.rates().mean()),
            "win_rate/main_exploiter": exploiters[0].against_main,
            "win_rate/league_exploiter": float(exploiters[1].rates.rates().mean()),
        }


def oppose_main(profile: Profile, league: Pool, rates: WinRates) -> Opponents:
    """Returns the opponents of the main agent: itself, the league, and members to whom it loses."""
    wins = rates.rates()
    weights = PRIORITISED * prioritise(wins, f_hard)
    stronger = (wins < 0.5).astype(float)
    weights += FORGOTTEN * (stronger / stronger.sum() if stronger.any() else prioritise(wins, f_hard))
    return Opponents([profile, *league.opponents().members], [SELF_PLAY, *weights.tolist()])


def oppose_main_exploiter(exploiter: Exploiter, main: Profile, league: Pool, kinds: list[int]) -> Opponents:
    """Returns the main agent, or its earlier versions if the exploiter hardly ever beats it."""
    if exploiter.against_main >= HOPELESS:
        return Opponents([main])
    mains = np.array(kinds) == MAIN
    weights = np.zeros(len(mains))
    weights[mains] = prioritise(exploiter.rates.rates()[mains], f_var)
    return league.opponents(weights.tolist())


def oppose_league_exploiter(exploiter: Exploiter, league: Pool) -> Opponents:
    """Returns the members of the league, those first that the exploiter loses to."""
    return league.opponents(prioritise(exploiter.rates.rates(), f_hard).tolist())
