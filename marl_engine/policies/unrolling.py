"""Distributions of policies of any unit in stretches of play."""

from torch import Tensor

from marl_engine.types import Distribution, Memory, Policy


def unroll(
    policy: Policy, rows: Tensor, legal: Tensor | None, memory: Memory, opens: Tensor, acting: Tensor
) -> tuple[Distribution, Memory]:
    """What `Policy.unroll` returns; policies whose unit is a decision are asked for each, and remember nothing."""
    if policy.unit == "sequence":
        return policy.unroll(rows, legal, memory, opens, acting)
    return policy(rows[acting], None if legal is None else legal[acting])[0], memory
