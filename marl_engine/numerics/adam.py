"""Adam over the parameters of one module as one vector (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1)."""

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from marl_engine.errors import Diverged
from marl_engine.numerics.jit import compile_loop


def flatten_parameters(module: nn.Module) -> tuple[nn.Parameter, Tensor]:
    """Moves all parameters of a module into one vector, and returns it with a vector of their gradients.

    The parameters and gradients of the module become views of these vectors, so an optimiser makes one call instead of
    one for each parameter.
    """
    parameters = list(module.parameters())
    flat = nn.Parameter(torch.cat([each.detach().flatten() for each in parameters]))
    flat.grad = gradient = torch.zeros_like(flat)
    start = 0
    for each in parameters:
        stop = start + each.numel()
        each.data = flat.data[start:stop].view_as(each)
        each.grad = gradient[start:stop].view_as(each)
        start = stop
    return flat, gradient


BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-5  # Adam's, with the epsilon usual for clipped surrogates


@compile_loop
def _adam(vector, gradient, mean, square, shrink, step, spread):
    """Applies one update of Adam in one pass.

    `shrink` scales the gradient to clip its norm; `step` and `spread` contain the bias corrections.
    """
    keep_1, keep_2, epsilon = np.float32(BETA_1), np.float32(BETA_2), np.float32(EPSILON)
    take_1, take_2 = np.float32(1 - BETA_1), np.float32(1 - BETA_2)
    for each in range(vector.size):
        slope = shrink * gradient[each]
        mean[each] = keep_1 * mean[each] + take_1 * slope
        square[each] = keep_2 * square[each] + take_2 * slope * slope
        vector[each] -= step * mean[each] / (spread * np.sqrt(square[each]) + epsilon)


class Adam:
    """Adam on all parameters of a module, stored as one vector (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1).

    torch.optim is not used because importing it loads torch's compiler, which takes over a second.
    """

    STATE = ("steps", "mean", "square")

    def __init__(self, module: nn.Module):
        self.vector, self.gradient = flatten_parameters(module)
        self.steps = 0
        self.mean, self.square = torch.zeros_like(self.vector.data), torch.zeros_like(self.vector.data)

    def step(
        self,
        loss: Tensor | Iterable[Tensor],
        learning_rate: float,
        norm: float,
        change: Callable[[Tensor], None] | None = None,
    ) -> None:
        """Takes one step on a loss, or on the sum of several losses, which are backpropagated one at a time to save
        memory. `change` may change the gradient before its norm is clipped.

        Raises Diverged, and changes nothing, if the gradient is not finite.
        """
        gradient = self.gradient.zero_()
        for part in [loss] if isinstance(loss, Tensor) else loss:
            part.backward()
        if change is not None:
            change(gradient)
        length = torch.linalg.vector_norm(gradient).item()
        if not math.isfinite(length):
            raise Diverged("the loss is not finite; try a smaller responder.learning_rate or another seed")
        self.steps += 1
        shrink = min(1.0, norm / (length + 1e-6))
        step, spread = learning_rate / (1 - BETA_1**self.steps), (1 - BETA_2**self.steps) ** -0.5
        if gradient.is_cuda:
            gradient.mul_(shrink)
            self.mean.lerp_(gradient, 1 - BETA_1)
            self.square.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
            self.vector.data.addcdiv_(self.mean, self.square.sqrt().mul_(spread).add_(EPSILON), value=-step)
        else:
            arrays = (each.numpy() for each in (self.vector.data, gradient, self.mean, self.square))
            _adam(*arrays, *map(np.float32, (shrink, step, spread)))
