"""A causal language model of transformers, made in a moment: random, uneven, of fifty words; nothing is downloaded."""

from pathlib import Path
from typing import Any

import torch

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<user>", "<bot>")
WORDS = (
    *("good", "great", "happy", "wonderful", "love", "bad", "awful", "sad", "terrible", "hate"),
    *("the", "a", "day", "night", "cat", "dog", "sun", "rain", "is", "was", "and", "not", "very", "who", "why", "what"),
    *("how", "where", "when", "are", "you", "we", "they", "it", "here", "there", "tell", "me", "about", "your", "my"),
    *("friend", "enemy", "one", "two", "three", ".", "?"),
)
CHAT = "{% for m in messages %}<user> {{ m['content'] }} </s> {% endfor %}<bot>"
PROMPTS = [
    f"{who} {where} {what} ?" for who in ("who", "why", "how") for where in ("is", "was") for what in WORDS[10:17]
]


def built(
    folder: Path,
    *,
    kind: str = "llama",
    chat: bool = True,
    words: int = len(WORDS),
    seed: int = 0,
    hidden: int = 32,
    layers: int = 2,
) -> Path:
    """Saves a small model and its tokens to a folder, with a chat template or a token that begins texts."""
    tokens = tokenizer(words, chat)
    tokens.save_pretrained(str(folder))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        causal(kind, len(tokens), hidden, layers).save_pretrained(str(folder))
    return folder


def tokenizer(words: int, chat: bool) -> Any:
    """A token for each of the first so many words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = {word: number for number, word in enumerate([*SPECIAL, *WORDS[:words]])}
    tokens = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", known["<s>"])])
    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    found = PreTrainedTokenizerFast(tokenizer_object=tokens, additional_special_tokens=["<user>", "<bot>"], **named)
    found.chat_template = CHAT if chat else None
    return found


def causal(kind: str, vocabulary: int, hidden: int, layers: int) -> Any:
    """A llama, with rotary places and tied embeddings, or a gpt2, with learned places and its own kind of layers."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    shared = {
        "vocab_size": vocabulary,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.4,
    }
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(n_embd=hidden, n_layer=layers, n_head=2, n_positions=64, **shared))
    sizes = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": layers}
    shared |= {"num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, **shared, max_position_embeddings=64, tie_word_embeddings=True))


def written_prompts(path: Path, count: int = len(PROMPTS)) -> Path:
    """A file of prompts that the toy model knows the words of."""
    path.write_text("\n".join(PROMPTS[:count]) + "\n")
    return path
