"""The responder of policies that answer: it asks, has the answers compared, and steps down a loss of what was found.

Every iteration draws prompts, has K answers written to each by the learner, compares them with each other or, where
somebody else plays, with theirs, and learns by one of the losses in preferences.py. Who plays, and who the learner is
held near, is the solver's to say.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor

from marl_engine.capabilities import PreferenceGame, TextPreferenceGame, capabilities_of
from marl_engine.losses.preference import (
    BASELINES,
    BY_VERDICT,
    LOSSES,
    OF_PAIRS,
    PreferenceLossSettings,
    PreferencePairs,
)
from marl_engine.numerics.adam import Adam
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.schedules import Schedule, parse_schedule
from marl_engine.policies.language.generation import Completions, LanguagePolicy
from marl_engine.policies.weights import Snapshot, load_snapshot, policies_equal, take_snapshot
from marl_engine.responders.preference.collector import (
    PAIRS,
    POOLED,
    PreferenceBatch,
    PreferenceCollector,
    Verdicts,
    load_batch,
)
from marl_engine.responders.preference.referee import Referee
from marl_engine.responders.regulariser import check_objective, kl_terms, one_opponent
from marl_engine.types import UNREGULARISED, Metrics, Objective, Opponents, Policy, Profile, Step, Work

COUNTS = ("prompts", "answers", "opponents", "epochs", "minibatches", "micro_batch")


@dataclass
class PreferenceResponder:
    """Raises ValueError for a game without a judge, a policy that writes no answers, a hyperparameter out of range."""

    game: PreferenceGame
    network: Any = None  # the maker of the policies
    seed: int = 0
    device: str = "cpu"
    prompts: int = 16  # B
    answers: int = 2  # K of the learner, to each prompt
    opponents: int = 1  # M of whoever else plays, to each prompt
    loss: str = "reinforce"
    pairs: str = "product"  # which answers are compared and learned from, by losses of pairs
    sample_labels: bool = False  # a comparison is a coin with the judge's chance, not the chance
    online: bool = True  # false: answers and comparisons are those of the first iteration, for ever (offline)
    epochs: int = 1
    minibatches: int = 1
    learning_rate: Any = 1e-3
    micro_batch: int = 1024  # answers whose gradients are in memory
    gradient_norm: float = 1.0
    clip: float = 0.2  # epsilon, where an answer is learned from more than once
    baseline: str = "half"
    least_margin: float = 0.3  # of pairs=margin, in wins
    margin: float = 0.5  # gamma of SimPO
    scale: float = 2.0  # beta of SimPO
    optimism: float = 0.0  # alpha of XPO
    work: Work = field(init=False, default_factory=lambda: Work(queries=0))  # comparisons so far
    supports: frozenset[str] = field(init=False, default=frozenset({"opponents", "anchor", "magnet"}))
    asked: PreferenceBatch | None = field(init=False, default=None)  # in the last iteration

    def __post_init__(self) -> None:
        check_fields("responder", self, *COUNTS, least=1, whole=True)
        check_fields("responder", self, "gradient_norm", "clip", above=0, infinite=True)
        check_fields("responder", self, "scale", above=0)
        check_fields("responder", self, "least_margin", "margin", "optimism")
        for name, choices in (("loss", LOSSES), ("pairs", PAIRS), ("baseline", BASELINES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"responder.{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        if self.pairs == "tournament" and (self.answers < 2 or self.answers & (self.answers - 1)):
            raise ValueError(f"responder.answers must be 2, 4, 8, … for responder.pairs=tournament, not {self.answers}")
        if self.answers < 2 and self.pairs not in POOLED and self.loss in OF_PAIRS:
            raise ValueError(f"responder.answers must be 2 or more where pairs are learned from, not {self.answers}")
        if self.pairs == "tournament" and self.loss not in BY_VERDICT:
            raise ValueError(
                f"responder.pairs=tournament needs responder.loss={' or '.join(BY_VERDICT)}, not {self.loss}"
            )
        if self.pairs in POOLED and self.loss not in OF_PAIRS:
            raise ValueError(
                f"responder.pairs={self.pairs} needs responder.loss={' or '.join(OF_PAIRS)}, not {self.loss}"
            )
        self.once = self.online and self.epochs * self.minibatches == 1  # answers are learned from as they were written
        able = capabilities_of(self.game)
        self.form = None if able.extensive is None else able.extensive.form
        self.prompt_game, self.metered_game = able.text_preference, able.metered
        self.schedule: Schedule = parse_schedule(self.learning_rate, "responder.learning_rate")
        self.settings = PreferenceLossSettings(self.clip, self.baseline, self.margin, self.scale, self.optimism)
        self.generator = torch.Generator().manual_seed(self.seed)
        self.referee = Referee(self.game, self.sample_labels, self.generator)
        counts = self.prompts, self.answers, self.opponents
        self.asking = PreferenceCollector(self.referee, self.device, *counts, self.pairs, self.least_margin)
        self.descents: dict[Policy, Adam] = {}
        self.paid: Mapping[str, float] = {}  # what the judge had cost when the run was stopped

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """Asks once, then learns for `epochs`; see `Responder`. Raises Diverged, Halted."""
        check_objective(self, opponents, objective)
        learner, against = get_language_policy(profile), one_opponent(opponents)
        self._check(against)
        start, before = perf_counter(), self.referee.queries
        if self.online or self.asked is None:
            self.asked = self.asking.ask(learner, against[0] if against else None)
        work = Work(queries=self.referee.queries - before)
        self.work.update(work)
        middle = perf_counter()
        held = [(weight, other[0]) for other, weight in kl_terms(objective)]
        if not held and self.loss not in ("reinforce", "simple"):
            raise ValueError(
                f"responder.loss={self.loss} learns near somebody: give solver.magnet_weight or solver.step_size"
            )
        drawn = objective.magnet_weight > 0 and objective.magnet is not None
        metrics = self._learned(learner, self.asked, held, drawn)
        metrics |= {"seconds/play": middle - start, "seconds/learn": perf_counter() - middle}
        return Step(metrics, work, self.asked)

    def _check(self, against: Profile | None) -> None:
        """Raises ValueError where what is learned from depends on an opponent who is there or is not."""
        if against is None and self.pairs == "across":
            raise ValueError("responder.pairs=across needs a solver with an opponent, like xpo; use product")
        if against is None and self.answers < 2:
            raise ValueError("responder.answers must be 2 or more where answers are compared with each other, not 1")
        if against is not None and self.pairs in POOLED and not against[0].generates:
            raise ValueError(
                f"responder.pairs={self.pairs} learns the answers of an opponent that writes, and a queue does not"
            )
        if against is None or self.pairs in POOLED:
            return
        if self.pairs == "tournament" or (self.loss in OF_PAIRS and self.loss != "squared"):
            raise ValueError(
                f"responder.loss={self.loss} with responder.pairs={self.pairs} needs answers compared with each "
                "other, and here they are compared with an opponent's; use loss=squared or reinforce, or pairs=across"
            )

    def snapshot(self, profile: Profile) -> Snapshot:
        """See `Responder`."""
        return take_snapshot(profile, [self._descent(get_language_policy(profile))])

    def rollback(self, profile: Profile, snapshot: Snapshot) -> None:
        """See `Responder`."""
        load_snapshot(snapshot, profile, [self._descent(get_language_policy(profile))])

    def state(self, profile: Profile) -> dict[str, Any]:
        """Everything but the policies that a checkpoint needs for going on as if nothing had happened."""
        learner = get_language_policy(profile)
        return {
            "work": dict(self.work),
            "generator": self.generator.get_state(),
            "descent": self._descent(learner).state(),
            "costs": self.costs(),
            "asked": None if self.online or not self.asked else self.asked.state(),
            "prompts": digest_of(self.prompt_game),
        }

    def restore(self, profile: Profile, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint, with the policies that were saved beside it.

        Raises ValueError where the prompts are others: what was saved, and what queues recall, goes by their numbers.
        """
        if state["prompts"] != digest_of(self.prompt_game):
            raise ValueError("game.prompts are others than when it was saved; bring them back, or start a new run")
        self.work = Work(state["work"])
        self.generator.set_state(state["generator"])
        self._descent(get_language_policy(profile)).restore(state["descent"])
        self.paid = state["costs"]
        self.asked = load_batch(state["asked"], self.device) if state["asked"] else None

    def costs(self) -> Metrics:
        """What the judge has cost, also before the run was stopped."""
        now = {} if self.metered_game is None else self.metered_game.costs()
        return {name: number + self.paid.get(name, 0.0) for name, number in now.items()}

    def quote(self) -> str:
        """A prompt and what the learner answered to it last; empty where these are no texts, or nothing was asked."""
        if self.prompt_game is None or self.asked is None:
            return ""
        return f"{self.prompt_game.texts[int(self.asked.numbers[0])]} → {self.asked.completions.texts[0]}"

    def _descent(self, learner: LanguagePolicy) -> Adam:
        if learner not in self.descents:
            self.descents[learner] = Adam(learner)
        return self.descents[learner]

    def _learned(
        self, learner: LanguagePolicy, asked: PreferenceBatch, held: list[tuple[float, Policy]], drawn: bool
    ) -> Metrics:
        """Steps down the loss, minibatch by minibatch; the first that holds it is a magnet if it is `drawn`."""
        near = [self._near(learner, other, asked.answers) for _, other in held]
        weights = [weight for weight, _ in held]
        losses: list[Tensor] = []
        for _ in range(self.epochs):
            for index in torch.randperm(len(asked.found.wins), generator=self.generator).chunk(self.minibatches):
                # Where the learner still is the other, rounding between batches must not set them apart: Adam makes a
                # step of any gradient, and of ties a walk.
                near_now = [
                    None if policies_equal(learner, other[1]) else each for other, each in zip(held, near, strict=True)
                ]
                parts = self._parts(learner, asked, index, near_now, weights, losses)
                self._descent(learner).step(parts, self.schedule.at(self.work["queries"]), self.gradient_norm)
        loss = torch.stack(losses).sum().item() / (self.epochs * self.minibatches)
        metrics = {"loss/policy": loss} | self.costs()
        if not self.online:
            return metrics  # the answers are those of long ago, and say nothing of the learner
        metrics["win_rate/opponent"] = float(asked.found.wins[:, : self.answers].mean())
        own = asked.answers.mask.view(*asked.found.wins.shape, -1)[:, : self.answers]
        metrics["length"] = own.sum(-1).float().mean().item()
        if drawn:
            apart = asked.answers.log_prob.sum(-1) - (0 if near[0] is None else near[0].sum(-1))
            mine = apart.view(asked.found.wins.shape)[:, : self.answers]
            metrics["kl/reference"] = 0.0 if near[0] is None else mine.mean().item()
        return metrics

    def _parts(
        self,
        learner: LanguagePolicy,
        asked: PreferenceBatch,
        index: Tensor,
        near: list[Tensor | None],
        weights: list[float],
        losses: list[Tensor],
    ) -> Iterator[Tensor]:
        """The loss of some groups, a few answers at a time, which are the memory that learning takes."""
        for few in index.split(max(1, self.micro_batch // asked.found.wins.shape[1])):
            batch = self._batch(learner, asked, few, near, weights)
            loss = LOSSES[self.loss](batch, self.settings) * self._share(asked.found.pairs, few, index)
            losses.append(loss.detach())
            yield loss

    def _share(self, pairs: Tensor, few: Tensor, index: Tensor) -> float:
        """How much some groups count among others, by what a loss is the mean of."""
        if self.loss not in OF_PAIRS:
            return len(few) / len(index)
        some, every = ((pairs[which][..., 0] >= 0).sum().item() for which in (few, index))
        return some / max(every, 1)

    def _batch(
        self,
        learner: LanguagePolicy,
        asked: PreferenceBatch,
        index: Tensor,
        near: list[Tensor | None],
        weights: list[float],
    ) -> PreferencePairs:
        """Some of the groups, with what the learner thinks of them now."""
        size, answers = asked.found.wins.shape[1], asked.answers
        rows = (index[:, None] * size + torch.arange(size)).flatten().to(self.device)
        log_prob = learner.log_probs(answers.rows[rows], answers.tokens[rows]) * answers.mask[rows]
        now, shape = log_prob.detach(), (len(index), size, -1)
        return PreferencePairs(
            log_prob.view(shape),
            (now if self.once else answers.log_prob[rows]).view(shape),
            answers.mask[rows].view(shape),
            [(now if each is None else each[rows]).view(shape) for each in near],
            weights,
            *Verdicts(*(each[index].to(self.device) for each in asked.found)),
            asked.within,
        )

    @torch.no_grad()
    def _near(self, learner: LanguagePolicy, policy: Policy, answers: Completions) -> Tensor | None:
        """Log-probabilities (N, L) of answers under a policy; None where it is the learner as it is, about to step."""
        other = cast(LanguagePolicy, policy)
        if self.once and policies_equal(learner, other):
            return None
        few = torch.arange(len(answers.tokens), device=self.device).split(self.micro_batch)
        return torch.cat([other.log_probs(answers.rows[i], answers.tokens[i]) for i in few]) * answers.mask


def digest_of(game: TextPreferenceGame | None) -> str | None:
    """What tells the prompts of a game, in their order, from others; None for a game without prompts."""
    return None if game is None else blake2b(json.dumps(game.chats).encode(), digest_size=16).hexdigest()


def get_language_policy(profile: Profile) -> LanguagePolicy:
    """The policy that answers in all seats. Raises ValueError for another profile."""
    learner = profile[0]
    if not learner.generates or any(policy is not learner for policy in profile):
        raise ValueError("PreferenceResponder moves one language policy that sits in all seats")
    return cast(LanguagePolicy, learner)
