"""Language models as policies: any causal model of transformers, with LoRA adapters or all weights trainable.

All policies of a run share one backbone. A policy owns only its trainable weights, the matrices of LoRA (Hu et al.
2021, arXiv:2106.09685) or all weights, and activates them in the backbone before it computes. A frozen copy therefore
takes only the memory of its adapters, and the reference stays what it was, whatever is learned later.

Answers are sampled from the whole distribution at `temperature`, without top-p or top-k: a truncated distribution has
no KL divergence to a reference.
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

PAD = -1  # marks padding


class TransformerPolicy(LanguagePolicy):
    """The trainable weights of one policy, and the backbone that uses them.

    Rows (N, W) int64 are the tokens of prompts, padded with PAD on the left. They do not include `opening`, the tokens
    that all prompts have in common at their beginning, which are processed once.
    """

    export_name = "adapter"
    backbone: Backbone

    def __init__(
        self,
        backbone: Backbone,
        train_prompts: Sequence[Prompt],
        length: int,
        temperature: float,
        new: bool = True,
        gradient_checkpointing: bool = False,
    ):
        super().__init__()
        self.__dict__["backbone"] = backbone  # not registered as a submodule, since it is shared
        self.trainable = nn.ParameterList(backbone.initial_weights(new))
        self.prompt_tokens, self.length, self.temperature = (
            backbone.tokenize_prompts(train_prompts),
            length,
            temperature,
        )
        self.opening = [
            column[0] for column in takewhile(all_equal, zip(*(each[:-1] for each in self.prompt_tokens), strict=False))
        ]
        self.ends, self.vocabulary, self.gradient_checkpointing = (
            backbone.ends,
            backbone.vocabulary,
            gradient_checkpointing,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "TransformerPolicy":
        """Copies the trainable weights; the backbone is shared."""
        other = TransformerPolicy.__new__(TransformerPolicy)
        nn.Module.__init__(other)
        other.__dict__.update({name: value for name, value in self.__dict__.items() if not name.startswith("_")})
        other.trainable = nn.ParameterList(each.detach().clone() for each in self.trainable)
        return memo.setdefault(id(self), other)

    def _apply(self, function: Any, recurse: bool = True) -> "TransformerPolicy":
        """Applies the function to the backbone, too."""
        self.backbone.apply(function)
        return super()._apply(function, recurse)

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Returns the tokens of the prompts with numbers (N, 1)."""
        lists = [self.prompt_tokens[number][len(self.opening) :] for number in observation[:, 0].tolist()]
        widest = max(map(len, lists))
        rows = [[PAD] * (widest - len(each)) + each for each in lists]
        return torch.tensor(rows, device=observation.device)

    def start_decoding(self, rows: Tensor) -> "TransformerDecodingState":
        return TransformerDecodingState(self, rows)

    def log_probs(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """See `LanguagePolicy`.

        A prompt is processed once for all consecutive answers to it, unless gradient checkpointing recomputes
        activations.
        """
        self.activate_adapter()
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        logits = (self.without_memory if recompute else self.with_memory)(rows, tokens)
        logits = logits.float() if self.temperature == 1 else logits.float() / self.temperature
        return -F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none").view(tokens.shape)

    def with_memory(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Returns the logits (N, L, V) of answers' tokens (N, L), with the prompts in a cache of keys and values."""
        first, is_token, memory = self.read(rows)
        if tokens.shape[1] == 1:
            return first[:, None]
        is_token = F.pad(is_token, (0, tokens.shape[1] - 1), value=True)
        return torch.cat([first[:, None], self.backbone.compute_logits(tokens[:, :-1], is_token, memory)], dim=1)

    def without_memory(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Returns the same without a cache, which gradient checkpointing does not support."""
        opening = torch.tensor([self.opening], dtype=torch.int64, device=rows.device).expand(len(rows), -1)
        is_token = F.pad(rows != PAD, (len(self.opening), tokens.shape[1] - 1), value=True)
        with self.backbone.enable_gradient_checkpointing():
            sequence = torch.cat([opening, rows.clamp(min=0), tokens[:, :-1]], dim=1)
            return self.backbone.compute_logits(sequence, is_token, None, keep=tokens.shape[1])

    def activate_adapter(self) -> None:
        """Activates the policy's weights in the backbone; merged into its layers if no gradient is needed."""
        self.backbone.activate_adapter(
            self.trainable, [] if torch.is_grad_enabled() else self.backbone.merge_adapters(self.trainable)
        )

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Processes prompts (N, W), each different one once.

        Returns the logits (N, V) of the first token of an answer, the mask of tokens that are not padding (N, O + W),
        and the cache.
        """
        different, which = rows.unique_consecutive(dim=0, return_inverse=True)
        memory, opening = self.backbone.memory(), torch.tensor([self.opening], device=rows.device)
        is_token = F.pad(rows != PAD, (len(self.opening), 0), value=True)
        if self.opening:
            self.backbone.compute_logits(opening, torch.ones_like(opening, dtype=torch.bool), memory, keep=1)
            memory.batch_repeat_interleave(len(different))
        is_different_token = F.pad(different != PAD, (len(self.opening), 0), value=True)
        logits = self.backbone.compute_logits(different.clamp(min=0), is_different_token, memory, keep=1)[:, 0]
        if len(different) < len(rows):
            memory.batch_select_indices(which)
        return logits[which], is_token, memory

    def decode(self, tokens: Tensor, mask: Tensor) -> list[Any]:
        return self.backbone.texts(tokens, mask)

    def check_lengths(self, name: Callable[[int], str]) -> None:
        """Raises ValueError if the longest prompt leaves no room for an answer.

        `name` describes a prompt by number.
        """
        sizes, positions = [len(tokens) for tokens in self.prompt_tokens], self.backbone.positions
        longest = max(sizes, default=0)
        if positions is not None and longest + self.length > positions:
            raise ValueError(
                f"{name(sizes.index(longest))} has {longest} tokens and an answer has up to {self.length} "
                f"(policy.length), more than the {positions} that this model reads: shorten one of them"
            )

    def save(self, folder: Path) -> None:
        """Saves the adapter for peft, or the whole model for transformers."""
        self.backbone.activate_adapter(self.trainable)
        self.backbone.save(folder)

    def save_merged(self, folder: Path) -> None:
        """Saves the whole model with its adapters merged. The backbone cannot be used afterwards."""
        self.backbone.activate_adapter(self.trainable)
        self.backbone.merge()
        self.backbone.save(folder)


def all_equal(tokens: Sequence[int]) -> bool:
    """Whether all tokens are equal."""
    return len(set(tokens)) == 1


class TransformerDecodingState:
    """Answers that are being generated, with the keys and values of all tokens so far."""

    def __init__(self, writer: TransformerPolicy, rows: Tensor):
        self.writer, self.merged = writer, writer.backbone.merge_adapters(writer.trainable)
        self.activate_adapter()
        first, self.there, self.memory = writer.read(rows)
        self.logits = first.float() / writer.temperature

    def activate_adapter(self) -> None:
        """Activates the weights of the policy in the backbone."""
        self.writer.backbone.activate_adapter(self.writer.trainable, self.merged)

    def append(self, token: Tensor) -> None:
        self.activate_adapter()
        self.there = F.pad(self.there, (0, 1), value=True)
        self.logits = self.writer.backbone.compute_logits(token[:, None], self.there, self.memory)[:, 0].float()
        self.logits /= self.writer.temperature


@dataclass
class TransformerSpec:
    """Makes a profile with one language model in all seats of a game with prompts.

    Raises ValueError for a model that cannot be loaded, and numbers out of range.
    """

    model: str | None = outside(None)  # a folder or name of transformers, a .gguf file; null: SmolLM2-135M-Instruct
    rank: int = 16  # of LoRA; 0: all weights are trainable
    alpha: int = 32  # of LoRA
    adapter: str | None = outside(None)  # a folder saved by peft to start from
    length: int = 24  # largest number of tokens in an answer
    temperature: float = 1.0
    dtype: str = "float32"  # of the backbone's weights; or bfloat16
    gradient_checkpointing: bool = False  # recomputes activations for the gradient, which saves memory

    def __post_init__(self) -> None:
        check_fields("policy", self, "length", least=1, whole=True)
        check_fields("policy", self, "temperature", "alpha", above=0)
        check_fields("policy", self, "rank", least=0, whole=True)  # 0: all weights
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"policy.dtype must be float32 or bfloat16, not {self.dtype}")
        if self.dtype == "bfloat16" and not self.rank and self.adapter is None:
            raise ValueError(
                "policy.dtype=bfloat16 needs an adapter (policy.rank above 0): bfloat16 is too coarse for trainable "
                "weights"
            )

    def profile(self, game: TextPreferenceGame) -> list[Policy]:
        """Returns the same model in every seat; LoRA's first matrices are drawn from torch's random state."""
        return [self.policy(game.chats, lambda number: f"game.prompts: prompt {game.places[number]}")] * game.players

    def policy(self, prompts: Sequence[Prompt], name: Callable[[int], str]) -> TransformerPolicy:
        """Returns a policy for prompts; `name` describes a prompt by number in errors. Raises ValueError."""
        backbone = get_backbone(self.model, self.rank, self.alpha, self.adapter, self.dtype)
        if self.gradient_checkpointing and not backbone.blocks():
            raise ValueError(f"policy.gradient_checkpointing: {self.model} has no layers that support it; leave it out")
        new, recompute = self.adapter is None, self.gradient_checkpointing
        policy = TransformerPolicy(backbone, prompts, self.length, self.temperature, new, recompute)
        policy.check_lengths(name)
        return policy
