"""Pipeline PSRO: trains several newcomers of each seat side by side, on the levels of a ladder.

McAleer et al. 2020 (arXiv:2006.08555, Algorithm 2). The policy on each level is trained against the meta-equilibrium of
the population and of the policies on the levels below it. The policy on the lowest level therefore has fixed opponents.
When it improves no further, it becomes a member, all others move down a level, and a new policy begins on the highest.
A policy that reaches the lowest level has already been trained against opponents like those that it meets there.

In an iteration each level is a job of the runner with its own copy of the responder, so that levels are trained in
parallel, and any runner gives the same results. All jobs of an iteration see the policies of the iteration before;
in the paper workers exchange policies without such rounds. A policy improves no further if what it earns has grown by
less than `plateau` of the meta-game's payoff range since the last iteration, or after `patience` iterations.
"""
