"""The responder for language policies: has answers compared, and minimises a loss of the verdicts.

In each iteration it samples prompts and K answers of the learner to each, has them compared with each other or with
those of an opponent, and takes gradient steps on one of the losses of `losses.preference`. The solver chooses the
opponent and the policies that the learner is regularised towards.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor

from marl_engine.capabilities import PreferenceGame, TextPreferenceGame, capabilities_of
from marl_engine.extensive_form.regularised import BEHAVIORAL
from marl_engine.losses.preference import (
    BASELINES,
    BY_VERDICT,
    LOSSES,
    OF_PAIRS,
    PreferenceLossSettings,
)
from marl_engine.numerics.adam import Adam
from marl_engine.numerics.checks import check_choices, check_fields
from marl_engine.numerics.schedules import Schedule, parse_schedule
from marl_engine.numerics.state import get_fields, set_fields
from marl_engine.policies.language import EnumerableLMSpec, TransformerSpec
from marl_engine.policies.language.generation import Completions, LanguagePolicy
from marl_engine.policies.weights import Snapshot, load_snapshot, policies_equal, take_snapshot
from marl_engine.responders.preference.collector import (
    PAIRS,
    POOLED,
    PreferenceBatch,
    PreferenceCollector,
    load_batch,
)
from marl_engine.responders.preference.referee import Referee
from marl_engine.responders.preference.update import PreferenceUpdate, Regulariser, learn_together
from marl_engine.responders.regulariser import check_objective, kl_terms
from marl_engine.runners import LOCAL, make_gang, overlapping
from marl_engine.types import UNREGULARISED, Metrics, Objective, Opponents, Policy, Profile, Runner, Step, Work

COUNTS = ("prompts", "answers", "opponents", "epochs", "minibatches", "micro_batch")


@dataclass
class PreferenceResponder:
    """Learns from preferences between answers.

    Raises ValueError for hyperparameters that are out of range or do not go together.
    """

    STATE = ("work", "generator", "optimisers")
    divergence = BEHAVIORAL

    game: PreferenceGame
    network: EnumerableLMSpec | TransformerSpec | None = None  # makes the policies
    seed: int = 0
    device: str = "cpu"
    prompts: int = 16  # B
    answers: int = 2  # K of the learner, to each prompt
    opponents: int = 1  # M of an opponent, to each prompt
    loss: str = "reinforce"
    pairs: str = "product"  # which answers are compared and learned from, by losses of pairs
    sample_labels: bool = False  # labels are sampled from the judge's probabilities
    online: bool = True  # false: the first iteration's answers and comparisons are used in all others (offline)
    epochs: int = 1
    minibatches: int = 1
    learning_rate: Any = 1e-3
    micro_batch: int = 1024  # answers in a forward and backward pass
    gradient_norm: float = 1.0
    clip: float = 0.2  # epsilon, if answers are learned from more than once
    baseline: str = "half"
    least_margin: float = 0.3  # for pairs=margin, in win rates
    margin: float = 0.5  # gamma of SimPO
    scale: float = 2.0  # beta of SimPO
    optimism: float = 0.0  # alpha of XPO
    shard: int | None = None  # prompts in a job of the runner: their answers, or comparisons; None: all, here
    runner: Runner = LOCAL
    work: Work = field(init=False, default_factory=lambda: Work(queries=0))  # comparisons so far
    supports: frozenset[str] = field(init=False, default=frozenset({"opponents", "anchor", "magnet"}))
    last_batch: PreferenceBatch | None = field(init=False, default=None)  # in the last iteration

    def __post_init__(self) -> None:
        check_fields("responder", self, *COUNTS, least=1, whole=True)
        if self.shard is not None:
            check_fields("responder", self, "shard", least=1, whole=True)
        check_fields("responder", self, "gradient_norm", "clip", above=0, infinite=True)
        check_fields("responder", self, "scale", above=0)
        check_fields("responder", self, "least_margin", "margin", "optimism")
        check_choices("responder", self, loss=LOSSES, pairs=PAIRS, baseline=BASELINES)
        if overlapping(self.runner):
            raise ValueError("runner.overlap=true needs a responder whose games workers play, such as responder=ippo")
        if self.pairs == "tournament" and (self.answers < 2 or self.answers & (self.answers - 1)):
            raise ValueError(f"responder.answers must be 2, 4, 8, … for responder.pairs=tournament, not {self.answers}")
        if self.answers < 2 and self.pairs not in POOLED and self.loss in OF_PAIRS:
            raise ValueError(f"responder.answers must be 2 or more if pairs are learned from, not {self.answers}")
        if self.pairs == "tournament" and self.loss not in BY_VERDICT:
            raise ValueError(
                f"responder.pairs=tournament needs responder.loss={' or '.join(BY_VERDICT)}, not {self.loss}"
            )
        if self.pairs in POOLED and self.loss not in OF_PAIRS:
            raise ValueError(
                f"responder.pairs={self.pairs} needs responder.loss={' or '.join(OF_PAIRS)}, not {self.loss}"
            )
        # answers are used once, by their own policy
        self.single_update = self.online and self.epochs * self.minibatches == 1
        able = capabilities_of(self.game)
        self.form = None if able.extensive is None else able.extensive.form
        self.prompt_game, self.metered_game = able.text_preference, able.metered
        self.schedule: Schedule = parse_schedule(self.learning_rate, "responder.learning_rate")
        self.settings = PreferenceLossSettings(self.clip, self.baseline, self.margin, self.scale, self.optimism)
        self.generator = torch.Generator().manual_seed(self.seed)
        sharing = self.shard, self.runner
        self.referee = Referee(self.game, self.sample_labels, self.generator, *sharing)
        counts = self.prompts, self.answers, self.opponents
        self.collector = PreferenceCollector(
            self.referee, self.device, *counts, self.pairs, self.least_margin, *sharing
        )
        self.optimisers: dict[Policy, Adam] = {}
        self.gang = make_gang(self.runner)
        self.paid: Mapping[str, float] = {}  # costs of earlier sessions

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """Collects one batch, then learns from it for `epochs`; see `Responder`. Raises Diverged, Halted."""
        check_objective(self, opponents, objective)
        learner = get_language_policy(profile)
        regularisers = [(weight, other[0]) for other, weight in kl_terms(objective)]
        self._check(opponents, bool(regularisers))
        start, before = perf_counter(), self.referee.queries
        if self.online or self.last_batch is None:
            self.last_batch = self.collector.collect(learner, opponents)
        work = Work(queries=self.referee.queries - before)
        self.work.update(work)
        end_of_play = perf_counter()
        has_magnet = objective.magnet_weight > 0 and objective.magnet is not None
        metrics = self._learn(learner, self.last_batch, regularisers, has_magnet)
        metrics |= {"seconds/play": end_of_play - start, "seconds/learn": perf_counter() - end_of_play}
        return Step(metrics, work, self.last_batch)

    def _check(self, opponents: Opponents | None, regularised: bool) -> None:
        """Raises ValueError if the loss or the pairs do not suit the presence or absence of what else is given."""
        if not regularised and self.loss not in ("reinforce", "simple"):
            raise ValueError(
                f"responder.loss={self.loss} needs a regulariser: set solver.magnet_weight or solver.step_size"
            )
        if opponents is None and self.pairs == "across":
            raise ValueError("responder.pairs=across needs a solver with an opponent, like xpo; use product")
        if opponents is None and self.answers < 2:
            raise ValueError("responder.answers must be 2 or more if answers are compared with each other, not 1")
        members = [] if opponents is None else opponents.members
        if self.pairs in POOLED and not all(member[0].generates for member in members):
            raise ValueError(
                f"responder.pairs={self.pairs} learns from the opponent's answers, so the opponent must "
                "generate them; a queue does not"
            )
        if opponents is None or self.pairs in POOLED:
            return
        if self.pairs == "tournament" or (self.loss in OF_PAIRS and self.loss != "squared"):
            raise ValueError(
                f"responder.loss={self.loss} with responder.pairs={self.pairs} needs answers compared with each "
                "other, and here they are compared with an opponent's; use loss=squared or reinforce, or pairs=across"
            )

    def snapshot(self, profile: Profile) -> Snapshot:
        """See `Responder`."""
        return take_snapshot(profile, [self._optimiser(get_language_policy(profile))])

    def rollback(self, profile: Profile, snapshot: Snapshot) -> None:
        """See `Responder`."""
        load_snapshot(snapshot, profile, [self._optimiser(get_language_policy(profile))])

    def prepare(self, profile: Profile) -> None:
        """See `Responder`."""
        learner = get_language_policy(profile)
        self.optimisers = {learner: self._optimiser(learner)}

    def state(self) -> dict[str, Any]:
        """Returns also the costs up to now, a batch that will be used again, and a digest of the prompts."""
        batch = None if self.online else self.last_batch
        return {**get_fields(self), "costs": self.costs(), "batch": batch, "prompts": digest_of(self.prompt_game)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `set_state`.

        Raises ValueError if the game's prompts have changed, since batches and queues refer to prompts by number.
        """
        if state["prompts"] != digest_of(self.prompt_game):
            raise ValueError("game.prompts have changed since the run was saved; restore them, or start a new run")
        set_fields(self, state)
        self.paid = state["costs"]
        self.last_batch = load_batch(state["batch"], self.device) if state["batch"] else None

    def costs(self) -> Metrics:
        """Returns what the judge has cost in all sessions of the run."""
        now = {} if self.metered_game is None else self.metered_game.costs()
        return {name: number + self.paid.get(name, 0.0) for name, number in now.items()}

    def quote(self) -> str:
        """Returns a prompt and the learner's last answer to it; empty if there are no texts."""
        if self.prompt_game is None or self.last_batch is None:
            return ""
        return f"{self.prompt_game.texts[int(self.last_batch.numbers[0])]} → {self.last_batch.completions.texts[0]}"

    def _optimiser(self, learner: LanguagePolicy) -> Adam:
        if learner not in self.optimisers:
            self.optimisers[learner] = Adam(learner)
        return self.optimisers[learner]

    def _learn(
        self,
        learner: LanguagePolicy,
        batch: PreferenceBatch,
        regularisers: list[tuple[float, Policy]],
        has_magnet: bool,
    ) -> Metrics:
        """Minimises the loss of a batch; returns metrics.

        `regularisers` are (weight, policy); the first one is the magnet if `has_magnet`.
        """
        near = [
            Regulariser(self._log_probs_under(learner, other, batch.answers), weight, policies_equal(learner, other))
            for weight, other in regularisers
        ]
        orders = [torch.randperm(len(batch.verdicts.wins), generator=self.generator) for _ in range(self.epochs)]
        update = PreferenceUpdate(
            batch,
            [index for order in orders for index in order.chunk(self.minibatches)],
            near,
            self.loss,
            self.settings,
            self.single_update,
            self.micro_batch,
            self.schedule.at(self.work["queries"]),
            self.gradient_norm,
            self.device,
        )
        optimiser = self._optimiser(learner)
        if self.gang is None:
            loss = update.learn(learner, optimiser)
        else:
            loss = learn_together(self.gang, update, learner, optimiser)
        metrics = {"loss/policy": loss} | self.costs()
        if not self.online:
            return metrics  # the answers are old and say nothing about the present learner
        metrics["win_rate/opponent"] = float(batch.verdicts.wins[:, : self.answers].mean())
        own = batch.answers.mask.view(*batch.verdicts.wins.shape, -1)[:, : self.answers]
        metrics["length"] = own.sum(-1).float().mean().item()
        if has_magnet:
            metrics["kl/reference"] = 0.0  # unless the magnet differs from the learner
            if (reference := near[0].log_probs) is not None:
                log_ratio = batch.answers.log_prob.sum(-1) - reference.sum(-1)
                metrics["kl/reference"] = log_ratio.view(batch.verdicts.wins.shape)[:, : self.answers].mean().item()
        return metrics

    @torch.no_grad()
    def _log_probs_under(self, learner: LanguagePolicy, policy: Policy, answers: Completions) -> Tensor | None:
        """Returns the log-probabilities (N, L) of answers under a policy.

        Returns None if it equals the learner and the answers are learned from once: then the learner's own are used.
        """
        other = cast(LanguagePolicy, policy)
        if self.single_update and policies_equal(learner, other):
            return None
        few = torch.arange(len(answers.tokens), device=self.device).split(self.micro_batch)
        return torch.cat([other.log_probs(answers.rows[i], answers.tokens[i]) for i in few]) * answers.mask


def digest_of(game: TextPreferenceGame | None) -> str | None:
    """Returns a digest of a game's prompts and their order; None for a game without prompts."""
    return None if game is None else blake2b(json.dumps(game.chats).encode(), digest_size=16).hexdigest()


def get_language_policy(profile: Profile) -> LanguagePolicy:
    """Returns the language policy that plays all seats. Raises ValueError for any other profile."""
    learner = profile[0]
    if not learner.generates or any(policy is not learner for policy in profile):
        raise ValueError("PreferenceResponder needs one language policy in all seats")
    return cast(LanguagePolicy, learner)
