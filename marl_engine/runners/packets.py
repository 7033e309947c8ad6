"""Packets: pickled values whose large arrays and tensors lie beside the pickle, so that they can be shared unread.

Classes and functions that are defined in a notebook travel with the packet.
"""

import pickle
import warnings
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from marl_engine.runners.resident import Resident

LARGE = 8192  # bytes of arrays that lie beside the pickle


class Packet(NamedTuple):
    """A pickled value, and the bytes of its large arrays."""

    frame: bytes
    arrays: list[np.ndarray]  # (bytes,) uint8 each


def pack(value: Any) -> Packet:
    """Returns the packet of a value, which shares memory with it."""
    arrays: list[np.ndarray] = []
    frame = BytesIO()
    packer_kind()(frame, protocol=5, buffer_callback=lambda buffer: put_beside(buffer, arrays)).dump(value)
    return Packet(frame.getvalue(), arrays)


def put_beside(buffer: pickle.PickleBuffer, arrays: list[np.ndarray]) -> bool:
    """Adds a large buffer to `arrays`; returns whether it is small, and stays in the pickle."""
    array = np.frombuffer(buffer.raw(), np.uint8)
    if len(array) >= LARGE:
        arrays.append(array)
    return len(array) < LARGE


def unpack(frame: bytes, arrays: Sequence[np.ndarray], *, copy: bool) -> Any:
    """Returns the value of a packet. Unless `copy`, its large arrays and tensors are those of the packet.

    They may then lie in memory that cannot be written.
    """
    buffers = [copy_bytes(array) for array in arrays] if copy else arrays
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        return pickle.loads(frame, buffers=buffers)


def copy_bytes(array: np.ndarray) -> np.ndarray:
    """Returns a copy that is aligned as torch's own memory, since rounding can depend on that."""
    copy = torch.empty(len(array), dtype=torch.uint8).numpy()
    copy[:] = array
    return copy


@cache
def packer_kind() -> Any:
    """Returns the class of picklers."""
    from ray.cloudpickle import CloudPickler

    class Packer(CloudPickler):  # type: ignore[misc]
        def reducer_override(self, value: Any) -> Any:
            if type(value) is Tensor and is_plain(value):
                return reduce_tensor(value)
            if type(value) is Resident:
                name, mark, data = value.pack(dump_whole)
                return Resident, (None, name, mark, np.frombuffer(data, np.uint8))
            return super().reducer_override(value)

    return Packer


class TensorPickler(pickle.Pickler):
    """Pickles a tensor as its own numbers. The weights of a policy that learns are views, each of which would otherwise
    bring all others along.
    """

    def reducer_override(self, value: Any) -> Any:
        return reduce_tensor(value) if type(value) is Tensor and is_plain(value) else NotImplemented


def dump_plain(value: Any) -> bytes:
    """Returns a pickled value, for `pickle.loads`."""
    frame = BytesIO()
    TensorPickler(frame, protocol=5).dump(value)
    return frame.getvalue()


def dump_whole(value: Any) -> bytes:
    """Returns a pickled value with all arrays in it."""
    frame = BytesIO()
    packer_kind()(frame, protocol=5).dump(value)
    return frame.getvalue()


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is no more than an array of numbers of this machine."""
    dense = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.requires_grad
    return dense and not tensor.is_complex() and not tensor.is_quantized and not tensor.is_neg()


def reduce_tensor(tensor: Tensor) -> Any:
    """Returns how to make a tensor from its bytes, with axes in the same order in memory."""
    order = sorted(range(tensor.ndim), key=tensor.stride().__getitem__, reverse=True)
    dense = tensor.permute(order).contiguous()
    data = pickle.PickleBuffer(dense.reshape(-1).view(torch.uint8).numpy().data)
    return make_tensor, (data, tensor.dtype, tuple(dense.shape), tuple(np.argsort(order).tolist()))


def make_tensor(data: Any, dtype: torch.dtype, shape: Sequence[int], order: Sequence[int]) -> Tensor:
    """The converse of `reduce_tensor`. Tensors in the pickle are copied, those beside it share its memory."""
    flat = torch.frombuffer(data, dtype=dtype) if len(data) else torch.empty(0, dtype=dtype)
    return (flat if isinstance(data, np.ndarray) else flat.clone()).view(tuple(shape)).permute(tuple(order))
