"""Adapters of language models: LoRA by peft (Hu et al. 2021, arXiv:2106.09685), and which weights are learned."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from marl_engine.errors import excerpt


class Place(NamedTuple):
    """Where a body keeps a weight that is learned."""

    modules: list[nn.Module]  # several, where they share it
    name: str

    @property
    def weight(self) -> Tensor:
        found = self.modules[0]._parameters[self.name]
        assert found is not None
        return found


class Layer(NamedTuple):
    """A linear layer with an adapter: W + scaling * B A."""

    module: Any  # of peft
    plain: Tensor  # W
    first: int  # places of A and B
    second: int
    scaling: float


def sums(layer: Layer) -> bool:
    """Whether an adapter can be added to its layer: in bfloat16 the little that it says would be rounded away."""
    return layer.plain.dtype == torch.float32


def added(layer: Layer, learned: nn.ParameterList) -> Tensor:
    """W + scaling * B A, where W may be kept transposed."""
    product = layer.scaling * learned[layer.second] @ learned[layer.first]
    return layer.plain + (product.T if layer.module.fan_in_fan_out else product)


def nowhere(place: str) -> bool:
    """Whether a place is no folder, and cannot be the owner/name of a hub."""
    return not Path(place).is_dir() and (Path(place).is_absolute() or place.count("/") != 1)


def adapted(model: Any, rank: int, alpha: int, adapter: str | None) -> Any:
    """With LoRA on all linear layers but the last, new or from a folder. Raises ValueError."""
    from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
    from peft.utils import load_peft_weights

    if adapter is None:
        return get_peft_model(
            model, LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    if nowhere(adapter):
        raise ValueError(f"there is no adapter at policy.adapter={adapter}: give a folder, or owner/name of a hub")
    try:
        found = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = excerpt(str(error))
        raise ValueError(f"policy.adapter={adapter} does not fit this model: {first}") from error
    saved, placed = (
        set(load_peft_weights(adapter, device="cpu")),
        set(get_peft_model_state_dict(found, save_embedding_layers=False)),
    )
    if saved != placed:
        raise ValueError(
            f"policy.adapter={adapter} is that of another model: {len(saved - placed)} of its matrices have no place "
            f"in this one, and {len(placed - saved)} are missing"
        )
    linear: list[Any] = [layer for layer in found.modules() if hasattr(layer, "lora_A")]
    plain = all(not any(layer.use_dora.values()) and not len(layer.lora_embedding_A) for layer in linear)
    if not plain or len(places_of(found)) != 2 * len(linear):
        raise ValueError(f"policy.adapter={adapter} must be plain LoRA, on linear layers and nothing else")
    found.active_peft_config.base_model_name_or_path = model.name_or_path  # it may have been trained elsewhere
    return found


def places_of(model: nn.Module) -> list[Place]:
    """Where the weights are that are learned, in the order of their names."""
    found: dict[int, Place] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None and weight.requires_grad:
                found.setdefault(id(weight), Place([], name)).modules.append(module)
    return list(found.values())


def layers_of(model: nn.Module, places: list[Place]) -> list[Layer]:
    """The linear layers with an adapter."""
    found = []
    number = {id(place.weight): index for index, place in enumerate(places)}
    for module in model.modules():
        if hasattr(module, "lora_A") and hasattr(module, "base_layer"):
            layer: Any = module
            for name in layer.active_adapters:
                first, second = (number[id(part[name].weight)] for part in (layer.lora_A, layer.lora_B))
                found.append(Layer(layer, layer.base_layer.weight, first, second, layer.scaling[name]))
    return found
