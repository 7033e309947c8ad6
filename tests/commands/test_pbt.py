"""Population-based training: rounds can be stopped anywhere, and the worst members go on from the best."""

import json
import random

import pytest
from command_runs import assert_same_checkpoint, contents, marl_train

from marl_engine.commands.sweeps.population import FILE, PBTOptions, Population, change, read_choices
from marl_engine.commands.train import CONFIG, compose_config

GAME = ("-m", "game=kuhn_poker", "policy=network", "threads=1", "policy.hidden=[8]")
FEW = ("responder.num_envs=4", "responder.rollout_length=8", "responder.epochs=1", "responder.minibatches=2")
VARIED = ("responder.learning_rate=1e-4,1e-3,1e-2", "responder.entropy_bonus=0.0,0.01")
KEYS = (*GAME, *FEW, *VARIED, "pbt.members=3", "pbt.every=2", "run=pop")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of three rounds of three members."""
    home = tmp_path_factory.mktemp("whole")
    done = marl_train(home, *KEYS, "iterations=6")
    assert (done.code, done.err) == (0, "")
    return home / "runs/pop"


def test_a_population_goes_on_also_in_workers(whole, tmp_path):
    """Two rounds here and one there are three rounds, bit for bit."""
    assert marl_train(tmp_path, *KEYS, "iterations=4").code == 0
    done = marl_train(tmp_path, *KEYS, "iterations=6", "runner=processes", "runner.workers=2")
    assert (done.code, done.err) == (0, "")
    assert json.loads((tmp_path / "runs/pop" / FILE).read_text()) == json.loads((whole / FILE).read_text())
    for member in "012":
        assert_same_checkpoint(tmp_path / "runs/pop" / member, whole / member, 6)


def test_a_member_goes_on_from_a_better_one(whole, tmp_path):
    rounds = json.loads((whole / FILE).read_text())["rounds"]
    assert [len(members) for members in rounds] == [3, 3, 3]
    for settings, score, parent in rounds[0]:
        assert set(settings) == {"responder.learning_rate", "responder.entropy_bonus"}
        assert rounds[0][parent][1] >= score
    assert sorted(settings["responder.learning_rate"] for settings, *_ in rounds[0]) == [1e-4, 1e-3, 1e-2]
    config, choices = read_choices(KEYS[1:], lambda words: compose_config(CONFIG, words))
    population = Population(tmp_path / "pop", config, choices, PBTOptions(members=3, every=2))
    population.save()
    for number in range(3):
        folder = tmp_path / "pop" / str(number)
        (folder / "checkpoints" / "00000002").mkdir(parents=True)
        (folder / "checkpoints" / "00000002" / "weights").write_text(str(number))
        (folder / "config.yaml").write_text("seed: 0\n")
        (folder / "summary.json").write_text(json.dumps({"return/mean": number}))
    before = population.settings
    members = population.end_round([0, 1, 0])
    assert [member.score for member in members] == [0, -float("inf"), 2]
    assert [member.parent for member in members] == [0, 2, 2]
    jobs = population.jobs(4)
    weights = [path.read_text() for path in sorted((tmp_path / "pop").rglob("weights"))]
    assert weights == ["0", "2", "2"]
    assert [population.settings[number] == before[number] for number in range(3)] == [True, False, True]
    assert jobs[1][1].config["responder"]["learning_rate"] == population.settings[1]["responder.learning_rate"]


def test_settings_change_by_a_fifth_or_to_a_neighbour_or_to_any_choice():
    numbers = random.Random(0)
    floats = {round(change(1.0, [1.0, 5.0], numbers), 6) for _ in range(100)}
    assert floats == {0.8, 1.2, 1.0, 5.0}
    near = [change(4, [1, 2, 4, 8, 16], numbers) for _ in range(400)]
    assert set(near) == {1, 2, 4, 8, 16}
    assert near.count(2) + near.count(8) > 0.75 * 400
    assert {change(False, [False, True], numbers) for _ in range(50)} == {False, True}


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ((*KEYS[1:5], "pbt.members=3", "run=x"), "pbt.members needs -m and several values"),
        ((*GAME, "pbt.members=3", "run=x", "iterations=4"), "pbt needs values to begin with"),
        ((*GAME, "episodes=12,13", "pbt.members=3", "run=x"), "not episodes"),
        ((*GAME, "responder.num_envs=4,8", "pbt.members=3", "run=x"), "not responder.num_envs"),
        ((*GAME, *VARIED, "pbt.members=3", "iterations=4"), "pbt needs run="),
        ((*GAME, *VARIED, "pbt.members=1", "run=x", "iterations=4"), "pbt.members must be a whole number of 2 or more"),
        ((*KEYS[:-1], "pbt.share=0.5", "run=pop", "iterations=6"), "runs/pop has something else"),
    ],
)
def test_what_is_refused(whole, keys, part):
    before = contents(whole)
    done = marl_train(whole.parents[1], *keys)
    assert done.code == 2
    assert part in done.err
    assert contents(whole) == before
