"""The responder of policies that answer: it asks, has the answers compared, and steps down a loss of what was found.

Every iteration draws prompts, has K answers written to each by the learner, compares them with each other or, where
somebody else plays, with theirs, and learns by one of the losses in preferences.py. Who plays, and who the learner is
held near, is the solver's to say.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marl_engine.answers import Answers, GeometricMixture, Writer, answered, grouped, pooled
from marl_engine.comparing import Referee, across, all_pairs, best_and_worst, by_margin, chosen, wins_among
from marl_engine.learner import Descent
from marl_engine.population import alike
from marl_engine.preferences import BASELINES, LOSSES, Compared, Settings
from marl_engine.reference import pulls
from marl_engine.schedules import Schedule, schedule
from marl_engine.types import Metrics, Policy, Profile

PAIRS = ("product", "best_worst", "tournament", "across", "margin")
POOLED = ("across", "margin")  # the answers of the opponent are learned from too


class Found(NamedTuple):
    """What the judge said of B groups of K answers."""

    wins: Tensor  # (B, K)
    pairs: Tensor  # (B, R, 2)
    preferred: Tensor  # (B, R)


class Asked(NamedTuple):
    """What there is to learn from."""

    answers: Answers  # B * K
    found: Found
    won: float  # the learner's mean wins


@dataclass
class Answering:
    """Raises ValueError for a game without a judge, a policy that writes no answers, a hyperparameter out of range."""

    game: Any
    network: Any = None  # the maker of the policies
    seed: int = 0
    device: str = "cpu"
    prompts: int = 16  # B
    answers: int = 2  # K of the learner, to each prompt
    opponents: int = 1  # M of whoever else plays, to each prompt
    loss: str = "reinforce"
    pairs: str = "product"  # which answers are compared and learned from, by losses of pairs
    coins: bool = False  # a comparison is a coin with the judge's chance, not the chance
    fresh: bool = True  # false: answers and comparisons are those of the first iteration, for ever (offline)
    epochs: int = 1
    minibatches: int = 1
    learning_rate: Any = 1e-3
    at_once: int = 1024  # answers whose gradients are in memory
    gradient_norm: float = 1.0
    clip: float = 0.2  # epsilon, where an answer is learned from more than once
    baseline: str = "half"
    least_margin: float = 0.3  # of pairs=margin, in wins
    margin: float = 0.5  # gamma of SimPO
    scale: float = 2.0  # beta of SimPO
    optimism: float = 0.0  # alpha of XPO
    form: Any = field(init=False)  # of the game, where it has one
    steps: int = field(init=False, default=0)  # queries: comparisons, so far
    holds: bool = field(init=False, default=True)
    written: Answers | None = field(init=False, default=None)  # the learner's, in the last iteration
    numbers: Tensor = field(init=False)  # (B,) of the prompts, in the last iteration

    def __post_init__(self) -> None:
        if not hasattr(self.game, "prefers"):
            raise ValueError(
                f"responder=answers needs a game with a judge, like preference/tiny or preference/sentiment, and "
                f"{type(self.game).__name__} has none"
            )
        for name in ("prompts", "opponents", "epochs", "minibatches", "at_once", "gradient_norm", "clip", "scale"):
            if getattr(self, name) <= 0:
                raise ValueError(f"responder.{name} must be above 0, not {getattr(self, name)}")
        for name, choices in (("loss", LOSSES), ("pairs", PAIRS), ("baseline", BASELINES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"responder.{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        if self.pairs == "tournament" and (self.answers < 2 or self.answers & (self.answers - 1)):
            raise ValueError(f"responder.answers must be 2, 4, 8, … for responder.pairs=tournament, not {self.answers}")
        if self.answers < 1 or (self.answers < 2 and self.loss != "reinforce"):
            raise ValueError(f"responder.answers must be 2 or more (1, with opponents), not {self.answers}")
        self.form = getattr(self.game, "form", None)
        self.schedule: Schedule = schedule(self.learning_rate, "responder.learning_rate")
        self.settings = Settings(self.clip, self.baseline, self.margin, self.scale, self.optimism)
        self.generator = torch.Generator().manual_seed(self.seed)
        self.referee = Referee(self.game, self.coins, self.generator)
        self.descents: dict[Policy, Descent] = {}
        self.kept: Asked | None = None  # what is learned from for ever, if nothing is fresh

    def respond(
        self,
        profile: Profile,
        against: Profile | None = None,
        *,
        anchor: Profile | None = None,
        step_size: float = math.inf,
        magnet: Profile | None = None,
        pull: float = 0.0,
    ) -> Metrics:
        """Asks once, then learns for `epochs`; see `Responder`. Raises Diverged, Halted."""
        learner = profile[0]
        if not isinstance(learner, Writer) or any(policy is not learner for policy in profile):
            raise ValueError(
                "responder=answers moves one policy that answers in all seats; use policy=tiny or language"
            )
        start = perf_counter()
        asked = self.kept or self._asked(learner, against[0] if against else None)
        self.kept = None if self.fresh else asked
        middle = perf_counter()
        held = [(weight, other[0]) for other, weight in pulls(magnet, pull, anchor, step_size)]
        if not held and self.loss not in ("reinforce", "simple"):
            raise ValueError(f"responder.loss={self.loss} learns near somebody: give solver.pull or solver.step_size")
        metrics = self._learned(learner, asked, held, drawn=pull > 0 and magnet is not None)
        return metrics | {"seconds/play": middle - start, "seconds/learn": perf_counter() - middle}

    def state(self, profile: Profile) -> dict[str, Any]:
        """Everything but the policies that a checkpoint needs for going on as if nothing had happened."""
        learner = writer_in(profile)
        return {
            "steps": self.steps,
            "generator": self.generator.get_state(),
            "descent": self._descent(learner).state(),
            "kept": self.kept
            and {"answers": self.kept.answers._asdict(), "found": self.kept.found._asdict(), "won": self.kept.won},
        }

    def restore(self, profile: Profile, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint, with the policies that were saved beside it."""
        self.steps = state["steps"]
        self.generator.set_state(state["generator"])
        self._descent(writer_in(profile)).restore(state["descent"])
        kept = state["kept"]
        self.kept = kept and Asked(Answers(**kept["answers"]), Found(**kept["found"]), kept["won"])

    def _descent(self, learner: Writer) -> Descent:
        if learner not in self.descents:
            self.descents[learner] = Descent(learner)
        return self.descents[learner]

    def _asked(self, learner: Writer, opponent: Policy | None) -> Asked:
        """Answers of the learner, compared with each other or with the opponent's."""
        self.numbers, before = self._drawn(), self.referee.queries
        mine, theirs = self._both(learner, opponent)
        self.written, said = mine, grouped(mine.said, self.prompts)
        if theirs is None:
            found = self._within(said)
        else:
            others = grouped(theirs.said, self.prompts)
            if self.pairs in POOLED:
                mine = pooled(mine, theirs, self.prompts)
                found = self._within([[*one, *other] for one, other in zip(said, others, strict=True)])
            else:
                found = self._against(self.referee.between(self.numbers, said, others).mean(-1))
        self.steps += self.referee.queries - before
        return Asked(mine, found, float(found.wins[:, : self.answers].mean()))

    def _against(self, wins: Tensor) -> Found:
        """Of wins (B, K) over somebody else: a pair is as far apart as its wins are."""
        pairs = best_and_worst(wins) if self.pairs == "best_worst" else all_pairs(*wins.shape)
        one, other = pairs.unbind(-1)
        return Found(wins, pairs, 0.5 + wins.gather(1, one) - wins.gather(1, other))

    def _within(self, said: list[list[Any]]) -> Found:
        """Of answers that are compared with each other."""
        if self.pairs == "tournament":
            pairs, preferred = self.referee.tournament(self.numbers, said)
            return Found(torch.full((len(said), len(said[0])), 0.5), pairs, preferred)
        table = self.referee.among(self.numbers, said)
        wins, (groups, size) = wins_among(table), table.shape[:2]
        if self.pairs == "best_worst":
            pairs = best_and_worst(wins)
        elif self.pairs == "across":
            pairs = across(groups, self.answers, size - self.answers)
        else:
            pairs = by_margin(wins, self.least_margin) if self.pairs == "margin" else all_pairs(groups, size)
        return Found(wins, pairs, chosen(table, pairs))

    def _drawn(self) -> Tensor:
        """Numbers (B,) of prompts, different ones if there are enough."""
        count = self.game.questions
        if count < self.prompts:
            return torch.randint(count, (self.prompts,), generator=self.generator)
        return torch.randperm(count, generator=self.generator)[: self.prompts]

    def _both(self, learner: Writer, opponent: Policy | None) -> tuple[Answers, Answers | None]:
        """Answers of the learner and of its opponent; side by side where that is a mixture of the learner."""
        own, others = self.answers, self.opponents
        if opponent is None:
            return self._answers(learner, own), None
        if not (isinstance(opponent, GeometricMixture) and alike(opponent.one, learner)):
            return self._answers(learner, own), self._answers(opponent, others)
        places = torch.arange(self.prompts * (own + others), device=self.device).view(self.prompts, -1)
        mine, theirs = places[:, :own].flatten(), places[:, own:].flatten()
        both = self._answers(GeometricMixture(learner, opponent.other, opponent.weight, theirs), own + others)
        return both.part(mine), both.part(theirs)

    def _answers(self, policy: Policy, each: int) -> Answers:
        """`each` answers to each of the prompts, group by group."""
        seeds = torch.randint(2**62, (self.prompts * each,), generator=self.generator)
        return answered(policy, self.numbers.repeat_interleave(each).to(self.device), seeds.to(self.device))

    def _learned(self, learner: Writer, asked: Asked, held: list[tuple[float, Policy]], drawn: bool) -> Metrics:
        """Steps down the loss, minibatch by minibatch; the first that holds the learner is a magnet if it is `drawn`."""
        near = [self._near(learner, other, asked.answers) for _, other in held]
        weights = [weight for weight, _ in held]
        losses: list[Tensor] = []
        for _ in range(self.epochs):
            for index in torch.randperm(len(asked.found.wins), generator=self.generator).chunk(self.minibatches):
                parts = self._parts(learner, asked, index, near, weights, losses)
                self._descent(learner).step(parts, self.schedule.at(self.steps), self.gradient_norm)
        own = asked.answers.mask.view(*asked.found.wins.shape, -1)[:, : self.answers]
        metrics = {
            "loss/policy": torch.stack(losses).sum().item() / (self.epochs * self.minibatches),
            "win_rate/opponent": asked.won,
        }
        metrics |= {"length": own.sum(-1).float().mean().item(), "queries": float(self.steps)}
        if drawn:
            apart = asked.answers.log_prob.sum(-1) - (0 if near[0] is None else near[0].sum(-1))
            mine = apart.view(asked.found.wins.shape)[:, : self.answers]
            metrics["kl/reference"] = 0.0 if near[0] is None else mine.mean().item()
        return metrics | (self.game.costs() if hasattr(self.game, "costs") else {})

    def _parts(
        self,
        learner: Writer,
        asked: Asked,
        index: Tensor,
        near: list[Tensor | None],
        weights: list[float],
        losses: list[Tensor],
    ) -> Iterator[Tensor]:
        """The loss of some groups, a few answers at a time, which are the memory that learning takes."""
        for few in index.split(max(1, self.at_once // asked.found.wins.shape[1])):
            batch = self._batch(learner, asked, few, near, weights)
            loss = LOSSES[self.loss](batch, self.settings) * len(few) / len(index)
            losses.append(loss.detach())
            yield loss

    def _batch(
        self, learner: Writer, asked: Asked, index: Tensor, near: list[Tensor | None], weights: list[float]
    ) -> Compared:
        """Some of the groups, with what the learner thinks of them now."""
        size, answers = asked.found.wins.shape[1], asked.answers
        rows = (index[:, None] * size + torch.arange(size)).flatten().to(self.device)
        log_prob = learner.log_probs(answers.rows[rows], answers.tokens[rows]) * answers.mask[rows]
        now, shape = log_prob.detach(), (len(index), size, -1)
        return Compared(
            log_prob.view(shape),
            (now if self.epochs * self.minibatches == 1 else answers.log_prob[rows]).view(shape),
            answers.mask[rows].view(shape),
            [(now if each is None else each[rows]).view(shape) for each in near],
            weights,
            *(each[index].to(self.device) for each in asked.found),
        )

    @torch.no_grad()
    def _near(self, learner: Writer, other: Policy, answers: Answers) -> Tensor | None:
        """Log-probabilities (N, L) of answers under a policy; None where it is the learner as it is, about to step."""
        assert isinstance(other, Writer)
        if self.epochs * self.minibatches == 1 and alike(learner, other):
            return None
        few = torch.arange(len(answers.tokens), device=self.device).split(self.at_once)
        return torch.cat([other.log_probs(answers.rows[i], answers.tokens[i]) for i in few]) * answers.mask


def writer_in(profile: Profile) -> Writer:
    """The policy that answers in all seats. Raises ValueError for another profile."""
    learner = profile[0]
    if not isinstance(learner, Writer) or any(policy is not learner for policy in profile):
        raise ValueError("responder=answers moves one policy that answers in all seats; use policy=tiny or language")
    return learner
