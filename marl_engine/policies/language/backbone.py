"""The bodies of language models: what computes for all policies of a run."""

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
from marl_engine.policies.language.lora import adapted, added, layers_of, places_of, sums
from marl_engine.policies.language.models import INSTALL, load_causal, save_model

KNOWN: dict[tuple[Any, ...], "Backbone"] = {}  # bodies are everybody's


class Backbone:
    """A causal language model and its tokens. Whoever computes with it puts its own weights in first.

    `causal` is transformers' own, and `model` the same, in peft's hands if it has adapters.
    """

    def __init__(self, causal: Any, model: Any, tokenizer: Any):
        self.causal, self.model, self.tokenizer, self.places = causal, model, tokenizer, places_of(model)
        new = "cache" in signature(causal.forward).parameters  # as the newer transformers call its memory
        self.memory_key = "cache" if new else "past_key_values"
        self.loaded = [place.weight for place in self.places]  # what a policy begins with; never changed
        self.layers = layers_of(model, self.places)
        self.ends, self.vocabulary = ends_of(causal, tokenizer), causal.config.vocab_size
        self.positions: int | None = positions_of(causal)
        self.active_adapter: object = None

    def activate_adapter(self, learned: nn.ParameterList, summed: Sequence[Tensor] = ()) -> None:
        """Computes with these weights from now on, or with what `summed` returned of them, unless it is empty."""
        chosen = summed or learned
        if self.active_adapter is not chosen:
            self.active_adapter = None  # until all of them are in place, should a signal come
            if not summed:
                for place, weight in zip(self.places, learned, strict=True):
                    for module in place.modules:
                        module._parameters[place.name] = weight
            self._put(summed)
            self.active_adapter = chosen

    @torch.no_grad()
    def summed(self, learned: nn.ParameterList) -> list[Tensor]:
        """Adapters added to the layers that they belong to: two thirds of the products less, where many tokens are
        written and nothing is learned. Layers whose adapter is nothing yet are the body's own. Empty where they cannot
        be added.
        """
        if not all(map(sums, self.layers)):
            return []
        return [added(layer, learned) if learned[layer.second].any() else layer.plain for layer in self.layers]

    def begun(self, new: bool) -> list[Tensor]:
        """What a policy begins with: the weights that were loaded; of `new` adapters the first matrix is drawn."""
        found = [weight.detach().clone() for weight in self.loaded]
        for layer in self.layers if new else []:
            nn.init.kaiming_uniform_(found[layer.first], a=5**0.5)  # as peft does
        return found

    def _put(self, weights: Sequence[Tensor]) -> None:
        """Weights into the layers with adapters, and these out of the way; none: as they were."""
        for number, layer in enumerate(self.layers):
            layer.module.base_layer._parameters["weight"] = weights[number] if weights else layer.plain
            layer.module._disable_adapters = bool(weights)  # peft's own switch also stops their gradients

    def move(self, function: Any) -> None:
        """To another device, or type of numbers, as it came."""
        self._put(())
        self.active_adapter = None
        self.model._apply(function)
        self.layers = [layer._replace(plain=layer.module.base_layer.weight) for layer in self.layers]

    def next(self, tokens: Tensor, there: Tensor, memory: Any, keep: int = 0) -> Tensor:
        """Logits (N, n, V) after each of the tokens (N, n), or the last `keep`, behind what is in memory, if any.

        `there` (N, m + n) says which of all tokens so far are real.
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
        """Layers that can compute again what they did not keep."""
        from transformers.modeling_layers import GradientCheckpointingLayer

        return [each for each in self.model.modules() if isinstance(each, GradientCheckpointingLayer)]

    @contextmanager
    def enable_gradient_checkpointing(self) -> Iterator[None]:
        """Within it blocks keep their inputs alone for the gradient, and compute the rest again when it is asked for
        (Chen et al. 2016, arXiv:1604.06174). What is in them is not told to train, so nothing is dropped out.
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
        """An empty one, of keys and values."""
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    def asked(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Prompts as the model is asked them, by its chat template if it has one, as tokens. Raises ValueError."""
        chats = [question(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
        texts = list(map(self.render if self.tokenizer.chat_template else opening, chats))
        return self.tokenizer(texts, add_special_tokens=not self.tokenizer.chat_template).input_ids if texts else []

    def render(self, chat: Chat) -> str:
        """A chat by the model's template. Raises ValueError for what that refuses, like a system's message."""
        from jinja2 import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            return text
        except TemplateError as error:
            raise ValueError(
                f"game.prompts: the model's chat template refuses {excerpt(transcript(chat))!r}: {excerpt(str(error))}"
            ) from error

    def texts(self, tokens: Tensor, mask: Tensor) -> list[str]:
        """What tokens (N, L) say."""
        rows = [
            [int(t) for t, real in zip(*each, strict=True) if real]
            for each in zip(tokens.tolist(), mask.tolist(), strict=True)
        ]
        return [text.strip() for text in self.tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def save(self, folder: Path) -> None:
        """As transformers and peft load it. Raises OSError."""
        keys = {"save_embedding_layers": False} if self.layers else {}  # else peft asks a hub about them
        save_model(self.model, self.tokenizer, folder, **keys)

    def merge(self) -> None:
        """Adds the adapters that it computes with to its weights for good: it is no other policy's body after that."""
        if self.layers:
            self.causal = self.model = self.model.merge_and_unload()
            self.layers = []
        for key in [key for key, body in KNOWN.items() if body is self]:
            del KNOWN[key]


def get_backbone(model: str | None, rank: int, alpha: int, adapter: str | None, dtype: str = "float32") -> Backbone:
    """A body by its name, loaded once, and without a trace in torch's random state. Raises ValueError."""
    key = model, rank, alpha, adapter, dtype
    if key not in KNOWN:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of one library about another
            warnings.simplefilter("always", Notice)
            KNOWN[key] = load_backbone(*key)
    return KNOWN[key]


def load_backbone(model: str | None, rank: int, alpha: int, adapter: str | None, dtype: str) -> Backbone:
    """See `body_of`."""
    if any(find_spec(name) is None for name in ("transformers", "peft")):
        raise ValueError(f"policy=language needs transformers and peft: {INSTALL}")
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    causal, tokenizer = load_causal(model, getattr(torch, dtype))
    causal.requires_grad_(rank == 0 and adapter is None)
    plain = adapter is None and not rank
    return Backbone(causal, (causal if plain else adapted(causal, rank, alpha, adapter)).eval(), tokenizer)


def ends_of(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer: of a chat often another than that of a text."""
    told = getattr(model.generation_config, "eos_token_id", None)
    every = [tokenizer.eos_token_id, *(told if isinstance(told, list) else [told])]
    return tuple(sorted({token for token in every if token is not None}))


def positions_of(causal: Any) -> int | None:
    """How many tokens a model was made to read, also where more would raise no error; None where nothing says."""
    count = getattr(
        causal.config.get_text_config(), "max_position_embeddings", None
    )  # which many kinds of models call differently
    return count if isinstance(count, int) and count > 0 else None
