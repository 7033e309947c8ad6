"""Bayesian-network teams: exact gradients and equilibria of tables, and networks that learn what they played."""

import json
from itertools import islice

import pytest
import torch
from command_runs import marl_train
from toys import Alternating, Leaving, Matrix

from games.aloha import Aloha
from games.coordination import Coordination
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.errors import Refused
from marl_engine.numerics.rng import derive_seeds, draw_uniforms
from marl_engine.policies import BayesNetSpec, BayesNetTableSpec, SoftmaxTablePolicy
from marl_engine.policies.bayes_net.exact import (
    evaluate,
    joint_policy,
    nash_conv,
    optimal_value,
    policy_gradient,
)
from marl_engine.policies.bayes_net.graphs import (
    assign_places,
    graph_noise,
    graph_parents,
    make_graph,
    openness,
    precedence,
    sinkhorn,
)
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders import PPO
from marl_engine.responders.batches import select_decisions
from marl_engine.rollout.rollout import play, score
from marl_engine.rollout.seating import Seating
from marl_engine.runs.factory import build
from marl_engine.runs.players import load_player
from solvers.joint import BayesNet

TEAMS = 200


def parents_of(graph, players):
    return graph_parents(make_graph(graph, players))


def random_logits(parents, teams=(), seed=0):
    """Returns logits (..., S, A^k, A) of normal numbers, of seats with two actions."""
    generator, states = torch.Generator().manual_seed(seed), 2 ** len(parents)
    shapes = [(*teams, states, 2 ** len(each), 2) for each in parents]
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]


def value_of(rules, logits, parents):
    tables = [each.softmax(-1) for each in logits]
    return evaluate(rules, joint_policy(tables, parents), len(tables)).value


@pytest.mark.parametrize("graph", ["none", "line", "complete", [[0, 2], [1, 2]], [[2, 0], [2, 1]]])
def test_the_gradient_is_that_of_finite_differences(graph):
    """And its sum over the actions of a seat is 0. Moved steps of 1e-5 leave errors of 1e-9."""
    rules, parents = Coordination(3).markov_rules(), parents_of(graph, 3)
    logits = random_logits(parents)
    for numbers, slopes in zip(logits, policy_gradient(rules, logits, parents), strict=True):
        assert slopes.sum(-1).abs().max() < 1e-12
        for number, slope in zip(range(numbers.numel()), slopes.flatten(), strict=True):
            flat, values = numbers.view(-1), []
            for step in (1e-5, -2e-5):
                flat[number] += step
                values.append(value_of(rules, logits, parents))
            flat[number] += 1e-5
            assert ((values[0] - values[1]) / 2e-5).item() == pytest.approx(slope.item(), abs=1e-6)


def test_without_edges_it_is_the_independent_policy_gradient_bit_for_bit():
    """grad_i = d(s) / (1 - gamma) (sum_{a_-i} pi Q - pi_i sum_a pi Q), written for two seats without graphs."""
    rules, parents = Coordination(2).markov_rules(), parents_of("none", 2)
    logits = [each[:, 0] for each in random_logits(parents)]
    first, second = (each.softmax(-1) for each in logits)
    joint = first[:, :, None] * second[:, None, :]
    worth = evaluate(rules, joint, 2)
    weighted = worth.visits[:, None, None] / (1 - rules.discount) * joint * worth.action_values.view(4, 2, 2)
    own = weighted.sum(2), weighted.sum(1)
    expected = [sums - pi * sums.sum(-1, keepdim=True) for sums, pi in zip(own, (first, second), strict=True)]
    results = policy_gradient(rules, [each[:, None] for each in logits], parents)
    for slope, independent in zip(results, expected, strict=True):
        assert torch.equal(slope[:, 0], independent)


@pytest.mark.parametrize("greedy", [False, True])
def test_a_table_without_edges_plays_like_independent_tables_bit_for_bit(greedy):
    game = Coordination(3)
    (team, *_) = BayesNetTableSpec("none").profile(game)
    alone = [SoftmaxTablePolicy(logits.detach()[:, 0].clone()) for logits in team.logits]
    seeds = derive_seeds(3, 50)
    assert torch.equal(score(game, [team] * 3, seeds, greedy=greedy), score(game, alone, seeds, greedy=greedy))
    one, other = (play(game, profile, game.reset(seeds), seeds, 0, 30)[0] for profile in ([team] * 3, alone))
    assert torch.equal(one.action, other.action)
    assert torch.equal(one.log_prob, other.log_prob)


def test_a_table_plays_its_joint_distribution():
    """Frequencies of joint actions in a state, within 4.5 standard errors; a seat on its own plays the marginal."""
    game = Coordination(3)
    (team, *_) = BayesNetTableSpec("complete").profile(game)
    seeds, state = derive_seeds(0, 40_000), torch.tensor([[5], [5], [5]])
    rows = team.encode(state, torch.arange(3)).expand(len(seeds), -1, -1)
    (noise,) = draw_uniforms(seeds, 0, 1, 3)
    action = team.decide_team(rows, None, torch.ones_like(noise, dtype=torch.bool), noise).action
    expected = joint_policy(team.tables(), team.parents)[5]
    counts = torch.bincount(action @ torch.tensor([4, 2, 1]), minlength=8) / len(seeds)
    assert ((counts - expected.flatten()).abs() < 4.5 * (expected.flatten() / len(seeds)).sqrt()).all()
    alone = team(rows[0])[0].log_probs.exp().double()
    torch.testing.assert_close(alone, torch.stack([expected.sum(each) for each in ((1, 2), (0, 2), (0, 1))]))


@pytest.fixture(scope="module")
def trained():
    """For each number of seats and each graph: the rules, and the logits and parents of teams after training."""
    results = {}
    for players in (2, 3):
        rules = Coordination(players).markov_rules()
        for graph in ("none", "line", "complete"):
            parents = parents_of(graph, players)
            logits = random_logits(parents, (TEAMS,))
            for _ in range(300):
                slopes = policy_gradient(rules, logits, parents)
                logits = [each + 0.3 * slope for each, slope in zip(logits, slopes, strict=True)]
            results[players, graph] = rules, logits, parents
    return results


def test_more_edges_lead_to_better_equilibria(trained):
    """The mean price of anarchy: without edges 0.92 and 0.89, with all edges 0.99 and 0.95, a line between.

    Standard errors of 200 teams are 0.003 to 0.007.
    """
    prices = {
        key: value_of(rules, logits, parents).mean().item() / optimal_value(rules)
        for key, (rules, logits, parents) in trained.items()
    }
    assert prices[2, "none"] == pytest.approx(0.918, abs=0.01)
    assert prices[2, "complete"] == pytest.approx(0.986, abs=0.005)
    assert prices[2, "line"] == pytest.approx(prices[2, "complete"])  # the same graph
    for players in (2, 3):
        assert prices[players, "complete"] - prices[players, "none"] >= 0.05
        assert prices[players, "none"] < prices[players, "line"] <= prices[players, "complete"] + 1e-9


def test_teams_converge_to_equilibria(trained):
    """What the seats gain together by best responses is a small part of what it was at first."""
    for (players, _), (rules, logits, parents) in trained.items():
        last, first = (
            nash_conv(rules, [each.softmax(-1) for each in numbers], parents)
            for numbers in (logits, random_logits(parents, (TEAMS,)))
        )
        assert first.min() > 1
        assert last.median() < 0.02 * first.median(), players
        assert last.min() > -1e-9


def test_the_best_value_is_that_of_both_seats_at_zero():
    """From 00 the state is 00 with probability 0.81 and 11 with 0.01, for both conventions; 3 is the better one."""
    rules = Coordination(2).markov_rules()
    opening = (3 + 2) / 4
    later = 0.95 / 0.05 * (0.81 * 3 + 0.01 * 2)
    assert optimal_value(rules) == pytest.approx(opening + later)
    one_zero = [torch.eye(2, dtype=torch.float64)[torch.zeros(4, 1, dtype=torch.int64)]] * 2
    assert nash_conv(rules, one_zero, [(), ()]).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ("ring", r"policy\.graph must be one of none, line, complete, learned, or a list of edges, not 'ring'"),
        ("learned", r"policy\.graph=learned needs policy=bayes_net.* tables have a fixed one: none, line, complete"),
        ([[0, 3]], r"an edge of policy\.graph must be two seats from 0 to 2, not \[0, 3\]"),
        ([[0, 1], [1, 2], [2, 0]], r"policy\.graph must be without cycles, and has 0 -> 1 -> 2 -> 0"),
    ],
)
def test_graphs_that_are_none_are_refused(graph, message):
    with pytest.raises(Refused, match=message):
        make_graph(graph, 3)


def learned_team(players=5):
    """A team with a learned graph whose weights are large, so that graphs differ between games."""
    torch.manual_seed(0)
    (team, *_) = BayesNetSpec(hidden=[16], sparsity=0.5).profile(Aloha(rows=1, columns=players))
    with torch.no_grad():
        for weights in team.parameters():
            weights.mul_(3)
    return team


def test_graphs_are_acyclic_and_orders_are_permutations():
    """10,000 graphs of five seats: the fifth power is 0, all parents decide before, and many graphs occur."""
    team, count = learned_team(), 10_000
    game = Aloha(rows=1, columns=5)
    observation = torch.eye(6)[torch.randint(6, (count, 5))]
    rows = team.encode(observation.flatten(0, 1), torch.arange(5).repeat(count)).unflatten(0, (count, 5))
    (noise,) = draw_uniforms(derive_seeds(0, count), 0, 1, game.players)
    with torch.no_grad():
        parents, steps = team.graph.draw(rows, noise, 1.0, False)
        scores, _ = team.graph.logits(rows)
        places = assign_places(scores + graph_noise(noise)[0])
    assert torch.equal(places.sort(1)[0], torch.arange(5).expand(count, -1))
    order = torch.cat(steps, dim=1)
    assert torch.equal(order, places.argsort(1))
    assert (torch.linalg.matrix_power(parents.float(), 5) == 0).all()
    child, parent = parents.nonzero()[:, 1], parents.nonzero()[:, 2]
    game_of = parents.nonzero()[:, 0]
    assert (places[game_of, parent] < places[game_of, child]).all()
    share = openness(parents.float())
    assert share.min() >= 0
    assert share.max() <= 1
    assert len(parents.flatten(1).unique(dim=0)) > 1000


def test_the_assignment_is_the_best_of_all_permutations():
    from itertools import permutations

    scores = torch.randn(50, 4, 4)
    totals = torch.stack([scores[:, range(4), list(each)].sum(1) for each in permutations(range(4))])
    best = scores.gather(2, assign_places(scores)[..., None]).sum((1, 2))
    torch.testing.assert_close(best, totals.amax(0))


def test_the_relaxation_is_doubly_stochastic_and_sharp_in_the_limit():
    scores = torch.randn(20, 4, 4)
    soft, sharp = sinkhorn(scores, 50), sinkhorn(scores / 0.01, 1000)
    for axis in (1, 2):
        torch.testing.assert_close(soft.sum(axis), torch.ones(20, 4), atol=1e-3, rtol=0)
    places = assign_places(scores)
    assert torch.equal(sharp.argmax(-1), places)
    earlier = (places[:, None, :] < places[:, :, None]).float()
    torch.testing.assert_close(precedence(torch.eye(4)[places]), earlier)
    assert ((precedence(soft) >= 0) & (precedence(soft) <= 1)).all()


def responder_of(game, spec, **keys):
    small = {"num_envs": 4, "rollout_length": 12, "minibatches": 2, "epochs": 1, "critic": "joint"}
    return PPO(game, spec, **{**small, **keys})


def learned_from(responder, profile):
    """Returns the batch that a team learns from next, and the trajectory that it is made of."""
    (trajectory,), parts, _ = responder._play(profile, None)
    ((team, (part,)),) = parts.items()
    return responder._batches(responder._learner(team), part)[0], trajectory


@pytest.mark.parametrize("critic", ["own", "joint"])
@pytest.mark.parametrize("graph", ["none", "line", "complete", "learned"])
def test_before_the_first_step_the_team_learns_from_what_it_played(graph, critic):
    """The graph that is learned from is the stored one, and gradients reach the network that draws graphs."""
    torch.manual_seed(0)
    game, spec = Aloha(rows=1, columns=4, horizon=5), BayesNetSpec(graph, hidden=[16, 16])
    profile = spec.profile(game)
    with torch.no_grad():
        for weights in profile[0].parameters():
            weights.mul_(2)
    batch, trajectory = learned_from(responder_of(game, spec, critic=critic), profile)
    pi, penalty = batch.evaluate(profile[0])
    now = pi.log_prob(select_decisions(batch, batch.action))
    torch.testing.assert_close(now, trajectory.log_prob.flatten(), atol=1e-6, rtol=0)
    share = openness(trajectory.draws["parents"].float()).mean().item()
    assert share == pytest.approx({"none": 0, "line": 0.5, "complete": 1}.get(graph, share))
    assert (penalty is not None) == (graph == "learned")
    now.sum().backward()
    for each in (profile[0].graph.scores, profile[0].graph.heads) if graph == "learned" else ():
        assert each.weight.grad.abs().max() > 0
    if graph == "learned":
        assert 0 < share < 1
        assert penalty.item() == pytest.approx(0.1 * (1 - share))


def test_actions_depend_on_those_of_parents_only():
    """With the edge 0 -> 2, what seat 0 does moves seat 2, and what seat 1 does moves nobody."""
    torch.manual_seed(0)
    game = Aloha(rows=1, columns=3)
    (team, *_) = BayesNetSpec([[0, 2]], hidden=[16]).profile(game)
    rows = team.encode(game.reset(derive_seeds(0, 1)).observation[0], torch.arange(3))[None]
    acting, draws = (
        torch.ones(1, 3, dtype=torch.bool),
        {"parents": team.graph.parents[None], "noise": torch.zeros(1, 3)},
    )

    def logits(*action):
        return team.team_distribution(rows, None, acting, torch.tensor([action]), draws)[0].logits

    assert torch.equal(logits(0, 0, 0), logits(0, 1, 0))
    differs = (logits(0, 0, 0) != logits(1, 0, 0)).any(1)
    assert differs.tolist() == [False, False, True]


def test_seats_that_have_left_are_nobodys_parents():
    torch.manual_seed(0)
    game, spec = Leaving(torch.eye(2), patience=4), BayesNetSpec([[1, 0]], hidden=[8])
    profile = spec.profile(game)
    batch, trajectory = learned_from(responder_of(game, spec), profile)
    assert not trajectory.alive.all()
    assert torch.equal(trajectory.draws["parents"][..., 0, 1], trajectory.alive[..., 1])
    now = batch.distribution(profile[0]).log_prob(select_decisions(batch, batch.action))
    torch.testing.assert_close(now, trajectory.log_prob[trajectory.acting], atol=1e-6, rtol=0)


def test_edges_from_seats_that_have_left_are_not_learned():
    """Nobody sees what they do, so the gradient in whether seat 0 does is 0."""
    team = learned_team(3)
    rows = team.encode(torch.rand(3, 6), torch.arange(3))[None]
    draws = {"parents": torch.zeros(1, 3, 3, dtype=torch.bool), "noise": torch.full((1, 3), 0.5)}
    for there in (True, False):
        graph = torch.zeros(1, 3, 3, requires_grad=True)
        team.graph.relax = lambda *_, graph=graph: (graph, None)
        acting = torch.tensor([[True, there, there]])
        pi, _ = team.team_distribution(rows, None, acting, torch.zeros(1, 3, dtype=torch.int64), draws)
        pi.log_prob(torch.zeros(len(pi.logits), dtype=torch.int64)).sum().backward()
        assert (graph.grad[0, 0, 1:] != 0).tolist() == [there, there]


def test_games_in_which_seats_wait_are_refused():
    with pytest.raises(Refused, match="BayesNetSpec is for games in which all seats act at the same time"):
        BayesNetSpec("line").profile(Alternating(torch.eye(2), patience=4))
    game = Alternating(torch.eye(2), patience=4)
    profile = BayesNetSpec("line").profile(Matrix(torch.eye(2), patience=4))
    with pytest.raises(Refused, match="BayesNetPolicy is for games in which all seats act at the same time"):
        responder_of(game, BayesNetSpec("line")).respond(profile)


@pytest.mark.parametrize("graph", ["complete", "learned"])
def test_edges_are_annealed_away(graph):
    """At the end the team plays exactly as its seats do on their own."""
    game, spec = Aloha(columns=2), BayesNetSpec(graph, hidden=[8])
    torch.manual_seed(0)
    profile, responder = spec.profile(game), responder_of(game, spec, num_envs=32)
    solver = BayesNet(dense=0.25, sparse=0.75, over=8 * 32 * 12)
    assert [solver.density(steps * 32 * 12) for steps in (0, 2, 4, 6, 8)] == [1, 1, 0.5, 0, 0]
    metrics = [progress.metrics for progress in islice(solver.solve(profile, responder), 8)]
    densities = [each["density"] for each in metrics]
    assert densities[0] == (1 if graph == "complete" else pytest.approx(0.88, abs=0.05))
    if graph == "complete":
        assert densities[4] == pytest.approx(0.5, abs=0.05)
    assert densities[6:] == [0, 0]
    for each in metrics:
        shares = {name: share for name, share in each.items() if name.startswith("edge/")}
        assert len(shares) == {"complete": 6, "learned": 12}[graph]
        assert sum(shares.values()) / 6 == pytest.approx(each["density"])
    turn, (noise,) = game.reset(derive_seeds(0, 64)), draw_uniforms(derive_seeds(1, 64), 0, 1, 4)
    together = Seating(profile, 64, noise.device).decide(turn, noise)
    rows = profile[0].encode(turn.observation.flatten(0, 1), torch.arange(4).repeat(64))
    for one, other in zip(together, profile[0](rows)[0].sample(noise.flatten()), strict=True):
        assert torch.equal(one.flatten(), other)


def test_solvers_and_policies_that_do_not_go_together_are_refused():
    game = Coordination(2)
    with pytest.raises(ValueError, match=r"BayesNet goes with policy=bayes_net, .* not with NetworkPolicy"):
        BayesNet(sparse=None).solve(MLPSpec().profile(game), responder_of(game, MLPSpec()))
    with pytest.raises(ValueError, match=r"solver\.sparse must be null with policy=table"):
        BayesNet(over=100).solve(BayesNetTableSpec().profile(game), responder_of(game, MLPSpec()))
    with pytest.raises(ValueError, match=r"solver\.sparse must be null where the number of steps has no limit"):
        BayesNet().solve(BayesNetSpec().profile(game), responder_of(game, BayesNetSpec()))
    with pytest.raises(
        Refused, match="is not a Markov game of a team: BayesNetTableSpec needs `features`, `markov_rules`"
    ):
        build(compose_config("train", ["game=aloha", "solver=bayes_net", "policy=table"]))


def test_the_command_reports_the_price_of_anarchy(tmp_path):
    words = ("game=coordination", "solver=bayes_net", "policy=table", "run=bn", "iterations=100", "episodes=8")
    done = marl_train(tmp_path, *words)
    assert (done.code, done.err) == (0, "")
    summary = json.loads((tmp_path / "runs" / "bn" / "summary.json").read_text())
    assert 0.5 < summary["price_of_anarchy"] <= 1
    assert f"price_of_anarchy {summary['price_of_anarchy']:.4g}, nash_conv {summary['nash_conv']:.4g}\n" in done.out
    assert 0 <= summary["nash_conv"] < 1
    assert summary["gradients"] == 100


def test_a_team_is_saved_and_loaded(tmp_path):
    words = ("game=aloha", "game.columns=2", "solver=bayes_net", "run=x", "policy.hidden=[8]", "episodes=16", "seed=3")
    small = ("responder.num_envs=8", "responder.rollout_length=10", "steps=400", "evaluate_every=5")
    done = marl_train(tmp_path, *words, *small)
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "runs" / "x" / "graphs.png").read_bytes()[:4] == b"\x89PNG"
    player = load_player(tmp_path / "runs" / "x")
    assert player.profile[0].density == 0
    summary = json.loads((tmp_path / "runs" / "x" / "summary.json").read_text())
    assert player.evaluate(16)["return/mean"] == pytest.approx(summary["return/mean"])
