"""Language models as policies: any causal one of transformers, with adapters of its own or all of its weights.

All policies of a run share one body. A policy owns only what is learned, the matrices of LoRA (Hu et al. 2021,
arXiv:2106.09685) or all weights, and puts it into the body before the body computes for it: a copy that stands still
costs as much memory as its adapters, and the reference is the policy as it was, whatever is learned later.

An answer is drawn from the whole distribution at `temperature`, and its log-probabilities are those of that same
distribution: nothing is cut off (no top-p, no top-k), for a distribution cut off has no KL to a reference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marl_engine.capabilities import TextPreferenceGame
from marl_engine.configuration import outside
from marl_engine.numerics.checks import check_fields
from marl_engine.policies.language.backbone import Backbone, get_backbone
from marl_engine.policies.language.chats import Prompt
from marl_engine.policies.language.generation import LanguagePolicy
from marl_engine.types import Policy

PAD = -1  # stands where a question has no token


class TransformerPolicy(LanguagePolicy):
    """What one policy has learned, and the body that it is put into.

    Rows (N, W) int64 are questions as tokens, filled up with PAD on the left, without what all of them begin with (a
    chat's opening): that is read once for all.
    """

    export_name = "adapter"
    body: Backbone

    def __init__(
        self,
        body: Backbone,
        train_prompts: Sequence[Prompt],
        length: int,
        temperature: float,
        new: bool = True,
        gradient_checkpointing: bool = False,
    ):
        super().__init__()
        self.__dict__["body"] = body  # not a module of this one: it is everybody's
        self.learned = nn.ParameterList(body.begun(new))
        self.asked, self.length, self.temperature = body.asked(train_prompts), length, temperature
        self.opening = [column[0] for column in takewhile(same, zip(*(each[:-1] for each in self.asked), strict=False))]
        self.ends, self.vocabulary, self.gradient_checkpointing = (
            body.ends,
            body.vocabulary,
            gradient_checkpointing,
        )

    def __deepcopy__(self, known: dict[int, Any]) -> "TransformerPolicy":
        """What is learned is copied, the body is not."""
        other = TransformerPolicy.__new__(TransformerPolicy)
        nn.Module.__init__(other)
        other.__dict__.update({name: value for name, value in self.__dict__.items() if not name.startswith("_")})
        other.learned = nn.ParameterList(each.detach().clone() for each in self.learned)
        return known.setdefault(id(self), other)

    def _apply(self, function: Any, recurse: bool = True) -> "TransformerPolicy":
        """Moves the body too."""
        self.body.move(function)
        return super()._apply(function, recurse)

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """The prompts with numbers (N, 1) as the model is asked them."""
        lists = [self.asked[number][len(self.opening) :] for number in observation[:, 0].tolist()]
        widest = max(map(len, lists))
        rows = [[PAD] * (widest - len(each)) + each for each in lists]
        return torch.tensor(rows, device=observation.device)

    def start_decoding(self, rows: Tensor) -> "TransformerDecodingState":
        return TransformerDecodingState(self, rows)

    def log_probs(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """The prompt is read once for all answers to it that follow each other, unless activations are recomputed."""
        self.activate_adapter()
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        logits = (self.without_memory if recompute else self.with_memory)(rows, tokens)
        logits = logits.float() if self.temperature == 1 else logits.float() / self.temperature
        return -F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none").view(tokens.shape)

    def with_memory(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Logits (N, L, V) of the tokens (N, L) of answers."""
        first, there, memory = self.read(rows)
        if tokens.shape[1] == 1:
            return first[:, None]
        there = F.pad(there, (0, tokens.shape[1] - 1), value=True)
        return torch.cat([first[:, None], self.body.next(tokens[:, :-1], there, memory)], dim=1)

    def without_memory(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """The same, each prompt read for each answer: what is computed again cannot add to a memory."""
        opening = torch.tensor([self.opening], dtype=torch.int64, device=rows.device).expand(len(rows), -1)
        there = F.pad(rows != PAD, (len(self.opening), tokens.shape[1] - 1), value=True)
        with self.body.enable_gradient_checkpointing():
            whole = torch.cat([opening, rows.clamp(min=0), tokens[:, :-1]], dim=1)
            return self.body.next(whole, there, None, keep=tokens.shape[1])

    def activate_adapter(self) -> None:
        """Puts what is learned into the body; added to its weights, where there is nothing to be learned."""
        self.body.activate_adapter(self.learned, [] if torch.is_grad_enabled() else self.body.summed(self.learned))

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Logits (N, V) of an answer's first token, which tokens there are (N, O + W), and the memory of them."""
        different, which = rows.unique_consecutive(dim=0, return_inverse=True)
        memory, opening = self.body.memory(), torch.tensor([self.opening], device=rows.device)
        there = F.pad(rows != PAD, (len(self.opening), 0), value=True)
        if self.opening:
            self.body.next(opening, torch.ones_like(opening, dtype=torch.bool), memory, keep=1)
            memory.batch_repeat_interleave(len(different))
        known = F.pad(different != PAD, (len(self.opening), 0), value=True)
        logits = self.body.next(different.clamp(min=0), known, memory, keep=1)[:, 0]
        if len(different) < len(rows):
            memory.batch_select_indices(which)
        return logits[which], there, memory

    def decode(self, tokens: Tensor, mask: Tensor) -> list[Any]:
        return self.body.texts(tokens, mask)

    def check_lengths(self, name: Callable[[int], str]) -> None:
        """Raises ValueError where the longest prompt leaves no room for an answer in the model; `name` names it."""
        sizes, positions = [len(tokens) for tokens in self.asked], self.body.positions
        longest = max(sizes, default=0)
        if positions is not None and longest + self.length > positions:
            raise ValueError(
                f"{name(sizes.index(longest))} has {longest} tokens and an answer has up to {self.length} "
                f"(policy.length), more than the {positions} that this model reads: shorten one of them"
            )

    def save(self, folder: Path) -> None:
        """As transformers and peft load it: an adapter, or a whole model."""
        self.body.activate_adapter(self.learned)
        self.body.save(folder)

    def save_merged(self, folder: Path) -> None:
        """As transformers loads it: a whole model, its adapters added to the weights. The body is spent after that."""
        self.body.activate_adapter(self.learned)
        self.body.merge()
        self.body.save(folder)


def same(tokens: Sequence[int]) -> bool:
    """Whether all are the same."""
    return len(set(tokens)) == 1


class TransformerDecodingState:
    """Answers below questions, with the keys and values of all tokens so far."""

    def __init__(self, writer: TransformerPolicy, rows: Tensor):
        self.writer, self.summed = writer, writer.body.summed(writer.learned)
        self.activate_adapter()
        first, self.there, self.memory = writer.read(rows)
        self.logits = first.float() / writer.temperature

    def activate_adapter(self) -> None:
        """Puts the weights of its writer into the body."""
        self.writer.body.activate_adapter(self.writer.learned, self.summed)

    def append(self, token: Tensor) -> None:
        self.activate_adapter()
        self.there = F.pad(self.there, (0, 1), value=True)
        self.logits = self.writer.body.next(token[:, None], self.there, self.memory)[:, 0].float()
        self.logits /= self.writer.temperature


@dataclass
class TransformerSpec:
    """Makes a profile of one language model in both seats of a game of prompts.

    Raises ValueError for a game without prompts, a model that is not there, and numbers out of range.
    """

    model: str | None = outside(None)  # a folder or name of transformers, a .gguf file; null: SmolLM2-135M-Instruct
    rank: int = 16  # of LoRA; 0: all weights are learned
    alpha: int = 32  # of LoRA
    adapter: str | None = outside(None)  # a folder of PEFT to start from
    length: int = 24  # tokens in an answer at most
    temperature: float = 1.0
    dtype: str = "float32"  # of the body's weights; or bfloat16
    gradient_checkpointing: bool = False  # activations are computed again for the gradient, and not kept

    def __post_init__(self) -> None:
        check_fields("policy", self, "length", least=1, whole=True)
        check_fields("policy", self, "temperature", "alpha", above=0)
        check_fields("policy", self, "rank", least=0, whole=True)  # 0: all weights
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"policy.dtype must be float32 or bfloat16, not {self.dtype}")
        if self.dtype == "bfloat16" and not self.rank and self.adapter is None:
            raise ValueError(
                "policy.dtype=bfloat16 needs an adapter (policy.rank above 0): it is too coarse to learn in"
            )

    def profile(self, game: TextPreferenceGame) -> list[Policy]:
        """The same model in every seat; LoRA's first matrices are drawn from torch's random state."""
        return [self.policy(game.chats, lambda number: f"game.prompts: prompt {game.places[number]}")] * game.players

    def policy(self, prompts: Sequence[Prompt], name: Callable[[int], str]) -> TransformerPolicy:
        """A policy for these prompts, whose numbers are put into words by `name`. Raises ValueError."""
        body = get_backbone(self.model, self.rank, self.alpha, self.adapter, self.dtype)
        if self.gradient_checkpointing and not body.blocks():
            raise ValueError(f"policy.gradient_checkpointing: {self.model} has no layers that can; leave it out")
        new, recompute = self.adapter is None, self.gradient_checkpointing
        policy = TransformerPolicy(body, prompts, self.length, self.temperature, new, recompute)
        policy.check_lengths(name)
        return policy
