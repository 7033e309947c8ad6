"""LoRA adapters of language models, made by peft (Hu et al. 2021, arXiv:2106.09685), and the list of trainable
weights.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from marl_engine.errors import excerpt


class Place(NamedTuple):
    """Where a model keeps a trainable weight."""

    modules: list[nn.Module]  # several if they share it
    name: str

    @property
    def weight(self) -> Tensor:
        weight = self.modules[0]._parameters[self.name]
        assert weight is not None
        return weight


class Layer(NamedTuple):
    """A linear layer with an adapter: W + scaling * B A."""

    module: Any  # of peft
    plain: Tensor  # W
    first: int  # positions of A and B among trainable weights
    second: int
    scaling: float


def can_merge(layer: Layer) -> bool:
    """Whether an adapter can be merged without loss: bfloat16 would round small changes away."""
    return layer.plain.dtype == torch.float32


def merged_weight(layer: Layer, trainable: nn.ParameterList) -> Tensor:
    """Returns W + scaling * B A; W may be stored transposed."""
    product = layer.scaling * trainable[layer.second] @ trainable[layer.first]
    return layer.plain + (product.T if layer.module.fan_in_fan_out else product)


def is_missing(place: str) -> bool:
    """Whether a place is no existing folder and cannot be the owner/name of a model on a hub."""
    return not Path(place).is_dir() and (Path(place).is_absolute() or place.count("/") != 1)


def add_adapter(model: Any, rank: int, alpha: int, adapter: str | None) -> Any:
    """Adds LoRA to all linear layers except the last, new or loaded from a folder. Raises ValueError."""
    from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
    from peft.utils import load_peft_weights

    if adapter is None:
        return get_peft_model(
            model, LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    if is_missing(adapter):
        raise ValueError(f"there is no adapter at policy.adapter={adapter}: give a folder, or owner/name of a hub")
    try:
        adapted = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = excerpt(str(error))
        raise ValueError(f"policy.adapter={adapter} does not fit this model: {first}") from error
    saved_keys, own_keys = (
        set(load_peft_weights(adapter, device="cpu")),
        set(get_peft_model_state_dict(adapted, save_embedding_layers=False)),
    )
    if saved_keys != own_keys:
        raise ValueError(
            f"policy.adapter={adapter} is that of another model: {len(saved_keys - own_keys)} of its matrices have no "
            f"place in this one, and {len(own_keys - saved_keys)} are missing"
        )
    linear: list[Any] = [layer for layer in adapted.modules() if hasattr(layer, "lora_A")]
    plain = all(not any(layer.use_dora.values()) and not len(layer.lora_embedding_A) for layer in linear)
    if not plain or len(trainable_places(adapted)) != 2 * len(linear):
        raise ValueError(f"policy.adapter={adapter} must be plain LoRA, on linear layers and nothing else")
    adapted.active_peft_config.base_model_name_or_path = model.name_or_path  # as the user calls it
    return adapted


def trainable_places(model: nn.Module) -> list[Place]:
    """Returns the places of trainable weights, in the order of the model's modules."""
    places: dict[int, Place] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None and weight.requires_grad:
                places.setdefault(id(weight), Place([], name)).modules.append(module)
    return list(places.values())


def adapted_layers(model: nn.Module, places: list[Place]) -> list[Layer]:
    """Returns the linear layers that have an adapter."""
    layers = []
    number = {id(place.weight): index for index, place in enumerate(places)}
    for module in model.modules():
        if hasattr(module, "lora_A") and hasattr(module, "base_layer"):
            layer: Any = module
            for name in layer.active_adapters:
                first, second = (number[id(part[name].weight)] for part in (layer.lora_A, layer.lora_B))
                layers.append(Layer(layer, layer.base_layer.weight, first, second, layer.scaling[name]))
    return layers
