"""`device=cuda` on a simulated GPU: nothing stays on the CPU, and results are the same."""

from copy import deepcopy

import pytest
import torch
from contracts import advance_solver, parts, responders_of
from pretended_gpu import pretended_gpu
from settings import preset, presets, toy_model

from marl_engine.commands.train import dispatch
from marl_engine.numerics.state import get_state, set_state
from marl_engine.runs.folder import RunFolder

SMALL = ["responder.num_envs=4", "responder.rollout_length=8", "policy.hidden=[16,16]", "steps=1000"]
OFF_POLICY = [*SMALL, "responder.batch=8", "responder.memory=50", "responder.warm_up=16"]
WORDS = ["game=preference/sentiment", "policy=language", "policy.rank=2", "policy.length=4", "responder.prompts=4"]
RUNS = {
    "overcooked": ["game=overcooked", "game.horizon=40", *SMALL],
    "networks on a tree": ["game=kuhn_poker", "policy=network", "responder=ippo", *SMALL],
    "off-policy": ["game=control", "game.horizon=20", "policy=squashed", "responder=off_policy", *OFF_POLICY],
    "a language model": [*WORDS, "solver=nash_md"],
    "an average of networks": ["game=kuhn_poker", "policy=network", "solver=nfsp", "solver.batch=8", *SMALL],
    "sampled payoffs": [
        "game=matrix",
        "policy=network",
        "solver=psro",
        "solver.games=8",
        "solver.oracle_steps=1",
        *SMALL,
    ],
}


def test_the_pretended_gpu_refuses_what_a_real_one_refuses():
    with pretended_gpu():
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        for mixed in (
            lambda: there + here,
            lambda: torch.cat([here, there]),
            lambda: here[torch.zeros(1, dtype=torch.int64, device="cuda")],
            lambda: torch.nn.Linear(3, 1).to("cuda")(here),
            lambda: torch.rand(3, generator=torch.Generator(), device="cuda"),
        ):
            with pytest.raises(RuntimeError, match=r"expected (all tensors on one|a cuda:0) device"):
                mixed()
        with pytest.raises(TypeError, match="to numpy"):
            there.numpy()
        layer = torch.nn.Linear(3, 1).to("cuda")
        layer(there).sum().backward()
        results = [there * 2, there[:1], there + torch.tensor(1.0), there[torch.tensor([0])], torch.zeros_like(there)]
        results += [deepcopy(layer).weight, layer.weight.grad, here.to(there), torch.arange(2, device=there.device)]
        assert {each.device for each in results} == {torch.device("cuda:0")}
        assert {each.device.type for each in (there.cpu(), here * 2, here.copy_(there))} == {"cpu"}
        with torch.device("meta"):
            shape = torch.ones(3)
        assert shape.device.type == "meta"
        assert torch.zeros_like(shape, device="cpu").tolist() == [0, 0, 0]
        assert torch.zeros_like(shape, device="cuda").device.type == "cuda"


def solvers_to_test():
    """Returns the first preset of each class of solvers, for each loss of the responder."""
    kinds = {}
    for name in presets("solver"):
        keys = preset("solver", name)
        kinds.setdefault((keys["solver"]["_target_"], keys.get("responder", {}).get("loss")), name)
    return list(kinds.values())


@pytest.mark.parametrize("name", solvers_to_test())
def test_a_solver_learns_the_same_on_cpu_and_gpu(name):
    for responder in responders_of(name):
        check_gpu(name, responder)


def check_gpu(name, responder):
    """The weights after two iterations are those of the processor, and a saved state goes on."""
    torch.manual_seed(0)
    here = parts(solver=name, responder=responder)
    advance_solver(here, 0, 2)
    with pretended_gpu():
        torch.manual_seed(0)
        there = parts(device="cuda", solver=name, responder=responder)
        advance_solver(there, 0, 2)
        there.responder.prepare(there.profile)
        state = deepcopy((get_state(there.responder), get_state(there.solver)))
        weights = [each.state_dict() for each in there.profile]
        assert {each.device.type for numbers in weights for each in numbers.values()} == {"cuda"}
        weights = [{name: each.cpu() for name, each in numbers.items()} for numbers in weights]
        set_state(there.responder, state[0])
        set_state(there.solver, state[1])
        advance_solver(there, 2, 3)
    for first, second in zip(here.profile, weights, strict=True):
        torch.testing.assert_close(first.state_dict(), second, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_on_a_gpu_goes_on_there_and_on_the_processor(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = [*RUNS[kind], "run=it", "iterations=2", "steps=1000", "episodes=8", "evaluate_every=1"]
    if kind == "a language model":
        keys.append(f"policy.model={toy_model()}")
    with pretended_gpu():
        assert dispatch([*keys, "device=cuda"]) == 0
        assert dispatch(["resume=runs/it", "iterations=4"]) == 0
    assert dispatch(["resume=runs/it", "iterations=5", "device=cpu"]) == 0
    assert RunFolder(tmp_path / "runs" / "it").latest()[0] == 5
