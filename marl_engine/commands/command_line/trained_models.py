"""Loads trained language models without their game, judge and solver."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch

from marl_engine.commands.command_line.cli_config import to_dict
from marl_engine.commands.command_line.preset_files import load_config
from marl_engine.configuration import instantiate
from marl_engine.errors import Refused, excerpt
from marl_engine.numerics.state import load_weights
from marl_engine.numerics.threads import choose_threads
from marl_engine.policies.language.transformer import TransformerPolicy, TransformerSpec
from marl_engine.runs.factory import check_device
from marl_engine.runs.folder import RunFolder, nearby_runs
from marl_engine.runs.saved_weights import read_checkpoint


class TrainedModel(NamedTuple):
    """The policy of a run and its initial policy."""

    policy: TransformerPolicy
    reference: TransformerPolicy
    iteration: int


def load_trained(
    path: Path, checkpoint: str, questions: Sequence[str], device: str = "cpu", **keys: Any
) -> TrainedModel:
    """Loads the policy of a checkpoint (last, best or an iteration) for questions, with some keys of `policy` changed.

    Raises Refused if there is none, if it is not a language model, or if a question is too long.
    """
    if not (path / "config.yaml").is_file():
        raise Refused(f"there is no run at {str(path)!r}{nearby_runs(path)}")
    config = to_dict(load_config(path / "config.yaml"))
    RunFolder(path).check_layout()
    maker = instantiate(
        "policy", {**config["policy"], **{key: value for key, value in keys.items() if value is not None}}
    )
    if not isinstance(maker, TransformerSpec):
        raise Refused(f"{path} has trained no language model; name a run of policy=language{nearby_runs(path)}")
    iteration, state = read_checkpoint(RunFolder(path), checkpoint)
    check_device(device)
    torch.set_num_threads(choose_threads(None))
    try:
        policy = maker.policy(questions, lambda number: f"question {number + 1}").to(device)
        reference = deepcopy(policy).requires_grad_(False)
        load_weights(policy, state["profile"]["policies"][0], "policy")
    except (ValueError, RuntimeError) as error:
        raise Refused(excerpt(str(error))) from error
    return TrainedModel(policy, reference, iteration)
