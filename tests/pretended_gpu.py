"""A GPU that is not there: memory of the processor that answers to `cuda`, and refuses what a real one refuses.

Within `pretended_gpu()` every tensor made on or moved to `cuda` is remembered by its storage. Operations on tensors of
both sides raise, as they do on a real GPU (numbers, indices and copies apart), and so does reading such a tensor with
NumPy. What this cannot show: that kernels of CUDA give the same numbers, and how fast they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # which torch imports at the first use of a mode, and could not within one
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakIdKeyDictionary

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
ATEN = torch.ops.aten
MOVES = {ATEN.copy_.default, ATEN._to_copy.default}  # from one side to the other
PLACES = {ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default, ATEN._index_put_impl_.default}
MADE = {torch.from_numpy, torch.frombuffer}  # of memory of the processor, without an operation that could be seen
READ = {Tensor.numpy, Tensor.__array__}


class Sides:
    """Which storages are said to be on the GPU."""

    def __init__(self) -> None:
        self.there: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def of(self, tensor: Tensor) -> torch.device:
        """Where a tensor is said to be."""
        return GPU if tensor.untyped_storage() in self.there else CPU

    def put(self, tensor: Tensor, device: torch.device) -> None:
        """Says where a tensor is."""
        storage = tensor.untyped_storage()
        if device == GPU:
            self.there[storage] = True
        else:
            self.there.pop(storage, None)


class Operations(TorchDispatchMode):
    """Holds operations to one side, and their results to the same."""

    def __init__(self, sides: Sides) -> None:
        super().__init__()
        self.sides, self.asked = sides, CPU

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one operation. Raises RuntimeError where a GPU would."""
        tensors = [each for each in tree_flatten((args, kwargs or {}))[0] if isinstance(each, Tensor)]
        known = {id(each.untyped_storage()): self.sides.of(each) for each in tensors}
        side = self.side(func, args, tensors)
        found = func(*args, **(kwargs or {}))
        for each in tree_flatten(found)[0]:
            if isinstance(each, Tensor) and id(each.untyped_storage()) not in known:
                self.sides.put(each, side)
        return found

    def side(self, func: Any, args: Any, tensors: list[Tensor]) -> torch.device:
        """Of the results. Raises RuntimeError for tensors of both sides."""
        if func in MOVES:
            return self.asked if func is ATEN._to_copy.default else self.sides.of(tensors[0])
        if not tensors:
            return self.asked
        if func in PLACES:  # a tensor of the GPU may be indexed from the processor, and not the other way round
            first = self.sides.of(tensors[0])
            tensors = tensors[:1] if first == GPU else tensors
        sides, large = ({self.sides.of(each) for each in some} for some in (tensors, [t for t in tensors if t.ndim]))
        if len(sides) > 1 and CPU in large:
            raise RuntimeError(f"{func}: expected all tensors on one device, found them on cpu and cuda:0")
        return GPU if GPU in sides else CPU


class Names(TorchFunctionMode):
    """Answers `cuda` where Python asks, and tells the operations where their results belong."""

    def __init__(self, sides: Sides, operations: Operations) -> None:
        super().__init__()
        self.sides, self.operations = sides, operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one function with its device replaced by the processor. Raises TypeError for NumPy on the GPU."""
        kwargs = dict(kwargs or {})
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if func == Tensor.device.__get__:
            return self.sides.of(first)
        if func == Tensor.is_cuda.__get__:
            return self.sides.of(first) == GPU
        if func in READ and self.sides.of(first) == GPU:
            raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")
        if func is Tensor.cpu:
            return self.moved(first, CPU, {})
        if func is Tensor.cuda:
            return self.moved(first, GPU, {})
        if func is Tensor.to:
            return self.to(first, args[1:], kwargs)
        before, self.operations.asked = self.operations.asked, self.asked(first, args, kwargs)
        dice = kwargs.get("generator")
        if isinstance(dice, Dice) and dice.side != self.operations.asked:
            raise RuntimeError(f"expected a {self.operations.asked} device type for generator, found {dice.side}")
        try:
            found = func(*args, **kwargs)
        finally:
            wanted, self.operations.asked = self.operations.asked, before
        if func in MADE:
            self.sides.put(found, CPU)
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and not any(found is each for each in args):
            self.sides.put(found, wanted)
        return found

    def asked(self, first: Tensor | None, args: Any, kwargs: dict[str, Any]) -> torch.device:
        """The device of a function's results where it makes new ones; its name is taken out of the arguments."""
        named = kwargs.pop("device", None)
        if named is not None:
            return device_of(named)
        return CPU if first is None else self.sides.of(first)

    def to(self, tensor: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """`Tensor.to` in all its forms."""
        device = kwargs.pop("device", None)
        rest = []
        for each in args:
            if isinstance(each, Tensor):
                device, each = self.sides.of(each), each.dtype
            if isinstance(each, str | torch.device):
                device = each
            elif each is not None:
                rest.append(each)
        dtype = kwargs.get("dtype") or next((each for each in rest if isinstance(each, torch.dtype)), None)
        wanted = self.sides.of(tensor) if device is None else device_of(device)
        return self.moved(tensor, wanted, {"dtype": dtype} if dtype else {})

    def moved(self, tensor: Tensor, device: torch.device, kwargs: dict[str, Any]) -> Tensor:
        """A copy on the other side, the tensor itself where it is there."""
        here = self.sides.of(tensor)
        if here == device and kwargs.get("dtype", tensor.dtype) == tensor.dtype:
            return tensor
        before, self.operations.asked = self.operations.asked, device
        try:
            return torch.ops.aten._to_copy.default(tensor, **kwargs)
        finally:
            self.operations.asked = before


class Dice(torch.Generator):
    """On the processor, whatever is said, which it remembers."""

    def __new__(cls, device: Any = "cpu") -> "Dice":
        """For one side."""
        found = super().__new__(cls)
        found.side = device_of(device)
        return found


def device_of(named: Any) -> torch.device:
    """One of the two."""
    return GPU if torch.device(named).type == "cuda" else CPU


@contextmanager
def pretended_gpu() -> Iterator[Sides]:
    """As long as it lasts, torch finds one GPU."""
    sides = Sides()
    operations = Operations(sides)
    found = mock.patch.object(torch.cuda, "device_count", return_value=1)
    there = mock.patch.object(torch.cuda, "is_available", return_value=True)
    dice = mock.patch.object(torch, "Generator", Dice)
    with found, there, dice, operations, Names(sides, operations):
        yield sides
