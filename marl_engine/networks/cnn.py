"""A convolutional network on images: convolutional layers, followed by a perceptron (LeCun et al. 1989).

With padding, images are surrounded by zeros, so that layers with stride 1 keep their height and width; in small grids
such as the kitchens of Overcooked every cell counts. Without padding, kernels stay inside the image: one as large as a
pattern on a board, such as four in a line, is applied once to each place where the pattern can be.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marl_engine.networks.mlp import MLP, activate_, append_seat

MANY = 4  # images for each number of an image, from which a layer is worth being written as a matrix
SMALL = 6  # pixels of an image for each of the kernel, up to which it is


def convolve(layer: nn.Conv2d, images: Tensor) -> Tensor:
    """Applies a convolutional layer to images (N, C, H, W).

    On the CPU, the layer is written as a matrix first if there are many images: it is applied to the standard basis. A
    product with that matrix has more terms than the convolution, but takes a fraction of its time for small images.
    """
    count, depth, height, width = images.shape
    size, kernel = depth * height * width, layer.weight[0, 0].numel()
    if images.is_cuda or count < MANY * size or height * width > SMALL * kernel:
        return layer(images)
    basis = torch.eye(size, dtype=images.dtype).view(size, *images.shape[1:])
    matrix = F.conv2d(basis, layer.weight, None, layer.stride, layer.padding)  # type: ignore[arg-type]
    bias = layer.bias.repeat_interleave(matrix[0, 0].numel())  # type: ignore[union-attr]
    return torch.addmm(bias, images.flatten(1), matrix.flatten(1)).unflatten(1, matrix.shape[1:])


def count_places(length: int, kernel: int, stride: int, padding: bool) -> int:
    """Returns the number of places of a kernel along a side of an image. Raises ValueError if there are none."""
    places = (length if padding else length - kernel + 1) + stride - 1
    if places < stride:
        raise ValueError(f"a kernel of {kernel} does not fit into {length} pixels without padding; take a smaller one")
    return places // stride


class CNN(nn.Module):
    """Maps images (N, H, W, C) of any type, and seats (N,) if `seats` > 0, to outputs (N, outputs).

    `shape` is (V, H, W, C): a joint critic is shown the V views (N, V, H, W, C) of all seats, which are stacked as
    channels. There is a convolutional layer for each of `channels`, all with kernels of `kernel` (height, width), and
    one stride. Sides with `padding` need odd kernels. The layers of the perceptron after them have `hidden` units; it
    is told the seat. Weights are initialised orthogonally with gain sqrt 2, those of the last layer with `gain`.

    Raises ValueError if images are smaller than the kernels.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        channels: Sequence[int],
        hidden: Sequence[int],
        outputs: int,
        *,
        kernel: tuple[int, int],
        stride: int,
        padding: tuple[bool, bool],
        seats: int,
        activation: str,
        gain: float,
    ):
        super().__init__()
        self.shape, self.outputs, self.activation, self.seats = shape, outputs, activation, seats
        views, height, width, depth = shape
        self.convolutions = nn.ModuleList()
        for inside, outside in pairwise([views * depth, *channels]):
            around = tuple(size // 2 if padded else 0 for size, padded in zip(kernel, padding, strict=True))
            layer = nn.Conv2d(inside, outside, kernel, stride, around)  # type: ignore[arg-type]
            nn.init.orthogonal_(layer.weight, 2**0.5)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            self.convolutions.append(layer)
            sides = zip((height, width), kernel, padding, strict=True)
            height, width = (count_places(length, size, stride, padded) for length, size, padded in sides)
        features = torch.zeros(channels[-1] * height * width)
        self.head = MLP(features, hidden, outputs, seats=seats, activation=activation, gain=gain)

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Returns rows (N, V * H * W * C + seats) for `forward`, of bytes where images are bytes."""
        rows = observation.flatten(1)
        return append_seat(rows if rows.dtype == torch.uint8 else rows.float(), seat, self.seats)

    def features(self, images: Tensor) -> Tensor:
        """Returns the output (N, channels, H', W') of the last convolutional layer for images (N, V, H, W, C)."""
        hidden = images.permute(0, 1, 4, 2, 3).flatten(1, 2).to(self.head.weights[0].dtype)
        for layer in self.convolutions:
            hidden = activate_(convolve(cast(nn.Conv2d, layer), hidden), self.activation)
        return hidden

    def forward(self, rows: Tensor) -> Tensor:
        """Maps rows from `encode` to outputs (N, outputs)."""
        pixels = rows.shape[1] - self.seats
        features = self.features(rows[:, :pixels].unflatten(1, self.shape)).flatten(1)
        if self.seats:
            features = torch.cat([features, rows[:, pixels:].to(features.dtype)], dim=1)
        return self.head(features)

    def observe(self, rows: Tensor) -> None:
        """Images are not normalised; see `MLP.observe`."""

    def output_layer(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Returns weight and bias of the last layer."""
        return self.head.output_layer()
