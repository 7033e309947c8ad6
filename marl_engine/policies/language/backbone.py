"""Backbones of language models: one model that computes for all policies of a run."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from marl_engine.errors import Notice, excerpt
from marl_engine.policies.language.chats import Chat, Prompt, opening, question, transcript
from marl_engine.policies.language.lora import adapted_layers, add_adapter, can_merge, merged_weight, trainable_places
from marl_engine.policies.language.models import INSTALL, load_causal, save_model

BACKBONES: dict[tuple[Any, ...], "Backbone"] = {}  # shared by all policies


class Backbone:
    """A causal language model and its tokenizer. A policy activates its own weights before it computes.

    `causal` is the model of transformers; `model` is the same, wrapped by peft if there are adapters.
    """

    def __init__(self, causal: Any, model: Any, tokenizer: Any):
        self.causal, self.model, self.tokenizer, self.places = causal, model, tokenizer, trainable_places(model)
        new = "cache" in signature(causal.forward).parameters  # the name in newer versions of transformers
        self.memory_key = "cache" if new else "past_key_values"
        self.loaded = [place.weight for place in self.places]  # initial weights; never changed
        self.layers = adapted_layers(model, self.places)
        self.ends, self.vocabulary = end_tokens(causal, tokenizer), causal.config.vocab_size
        self.positions: int | None = max_positions(causal)
        self.active_adapter: object = None

    def __reduce__(self) -> Any:
        """Pickles the settings: another process loads the model itself."""
        for key, body in BACKBONES.items():
            if body is self:
                return get_backbone, key
        return super().__reduce__()

    def activate_adapter(self, trainable: nn.ParameterList, merged: Sequence[Tensor] = ()) -> None:
        """Uses the weights of a policy from now on, or the `merged` weights made of them, if there are any."""
        adapter = merged or trainable
        if self.active_adapter is not adapter:
            self.active_adapter = None  # a signal may interrupt the loop
            if not merged:
                for place, value in zip(self.places, trainable, strict=True):
                    for module in place.modules:
                        module._parameters[place.name] = value
            self._set_layer_weights(merged)
            self.active_adapter = adapter

    @torch.no_grad()
    def merge_adapters(self, trainable: nn.ParameterList) -> list[Tensor]:
        """Returns the weight of each layer with its adapter added, for sampling without gradient.

        This saves two thirds of the matrix products. A layer whose adapter is zero has the model's own weight. Returns
        an empty list if adapters cannot be added without loss.
        """
        if not all(map(can_merge, self.layers)):
            return []
        return [
            merged_weight(layer, trainable) if trainable[layer.second].any() else layer.plain for layer in self.layers
        ]

    def initial_weights(self, new: bool) -> list[Tensor]:
        """Returns a policy's initial weights: those that were loaded.

        If `new`, LoRA's first matrices are drawn at random.
        """
        weights = [weight.detach().clone() for weight in self.loaded]
        for layer in self.layers if new else []:
            nn.init.kaiming_uniform_(weights[layer.first], a=5**0.5)  # as peft does
        return weights

    def _set_layer_weights(self, weights: Sequence[Tensor]) -> None:
        """Puts merged weights into the layers and disables their adapters; with no weights, restores both."""
        for number, layer in enumerate(self.layers):
            layer.module.base_layer._parameters["weight"] = weights[number] if weights else layer.plain
            layer.module._disable_adapters = bool(weights)  # peft's own switch also stops their gradients

    def apply(self, function: Any) -> None:
        """Applies a function to all weights, such as a move to another device."""
        self._set_layer_weights(())
        self.active_adapter = None
        self.model._apply(function)
        self.layers = [layer._replace(plain=layer.module.base_layer.weight) for layer in self.layers]

    def compute_logits(self, tokens: Tensor, there: Tensor, memory: Any, keep: int = 0) -> Tensor:
        """Returns the logits (N, n, V) of the token after each of tokens (N, n), or after the last `keep` of them.

        `is_token` (N, m + n) marks the tokens that are not padding, including the m tokens in `memory`, if there is
        one.
        """
        places = (there.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        return self.model(
            input_ids=tokens,
            attention_mask=there.long(),
            position_ids=places,
            use_cache=memory is not None,
            logits_to_keep=keep,
            **{self.memory_key: memory},
        ).logits

    def blocks(self) -> list[Any]:
        """Returns the blocks that support gradient checkpointing."""
        from transformers.modeling_layers import GradientCheckpointingLayer

        return [each for each in self.model.modules() if isinstance(each, GradientCheckpointingLayer)]

    @contextmanager
    def enable_gradient_checkpointing(self) -> Iterator[None]:
        """A context in which blocks keep only their inputs and recompute activations for the gradient.

        Chen et al. 2016 (arXiv:1604.06174). Modules inside blocks stay in evaluation mode, so dropout is not used.
        """
        blocks = self.blocks()
        for each in blocks:
            each.gradient_checkpointing = each.training = True
            each._gradient_checkpointing_func = partial(torch.utils.checkpoint.checkpoint, use_reentrant=False)
        try:
            yield
        finally:
            for each in blocks:
                each.gradient_checkpointing = each.training = False

    def memory(self) -> Any:
        """Returns an empty cache of keys and values."""
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    def tokenize_prompts(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Returns the tokens of prompts, formatted by the model's chat template if it has one. Raises ValueError."""
        chats = [question(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
        texts = list(map(self.render if self.tokenizer.chat_template else opening, chats))
        return self.tokenizer(texts, add_special_tokens=not self.tokenizer.chat_template).input_ids if texts else []

    def render(self, chat: Chat) -> str:
        """Formats a chat by the model's template.

        Raises ValueError if the template refuses it, as some refuse system messages.
        """
        from jinja2 import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            return text
        except TemplateError as error:
            raise ValueError(
                f"game.prompts: the model's chat template refuses {excerpt(transcript(chat))!r}: {excerpt(str(error))}"
            ) from error

    def texts(self, tokens: Tensor, mask: Tensor) -> list[str]:
        """Returns the texts of tokens (N, L)."""
        rows = [
            [int(t) for t, real in zip(*each, strict=True) if real]
            for each in zip(tokens.tolist(), mask.tolist(), strict=True)
        ]
        return [text.strip() for text in self.tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def save(self, folder: Path) -> None:
        """Saves the model for transformers, or its adapter for peft. Raises OSError."""
        keys = {"save_embedding_layers": False} if self.layers else {}  # otherwise peft queries a hub
        save_model(self.model, self.tokenizer, folder, **keys)

    def merge(self) -> None:
        """Adds the active adapters to the weights permanently. No other policy can use the backbone afterwards."""
        if self.layers:
            self.causal = self.model = self.model.merge_and_unload()
            self.layers = []
        for key in [key for key, body in BACKBONES.items() if body is self]:
            del BACKBONES[key]


def get_backbone(model: str | None, rank: int, alpha: int, adapter: str | None, dtype: str = "float32") -> Backbone:
    """Returns the backbone with the given settings, which is loaded once. Raises ValueError.

    Loading does not change torch's random state.
    """
    key = model, rank, alpha, adapter, dtype
    if key not in BACKBONES:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of one library about another
            warnings.simplefilter("always", Notice)
            BACKBONES[key] = load_backbone(*key)
    return BACKBONES[key]


def load_backbone(model: str | None, rank: int, alpha: int, adapter: str | None, dtype: str) -> Backbone:
    """Loads a model and its adapter; see `get_backbone`."""
    if any(find_spec(name) is None for name in ("transformers", "peft")):
        raise ValueError(f"language models need transformers and peft: {INSTALL}")
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    causal, tokenizer = load_causal(model, getattr(torch, dtype))
    causal.requires_grad_(rank == 0 and adapter is None)
    plain = adapter is None and not rank
    return Backbone(causal, (causal if plain else add_adapter(causal, rank, alpha, adapter)).eval(), tokenizer)


def end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Returns the tokens that end an answer. A chat often ends with another token than a text."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    tokens = [tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])]
    return tuple(sorted({token for token in tokens if token is not None}))


def max_positions(causal: Any) -> int | None:
    """Returns the longest input that a model was trained for, in tokens; None if its configuration does not say."""
    count = getattr(
        causal.config.get_text_config(), "max_position_embeddings", None
    )  # which many kinds of models call differently
    return count if isinstance(count, int) and count > 0 else None
