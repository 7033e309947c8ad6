"""Simulates play and learning with many workers, from the costs of a job: as a star, a tree, and sharded learners.

A server gives a job to each of its workers and takes one result after the other. All servers, their learning included,
do one thing at a time, and one result at a time is on the network to each. In a stretch each worker has one job, and
learners learn from the stretch before (`runner.overlap=true`); a stretch ends with its last job.
"""

import heapq
from collections.abc import Callable
from itertools import islice
from math import ceil
from typing import NamedTuple, TypeAlias

import numpy as np

NETWORK = 1.25e9  # bytes a second: 10 Gbit/s
MACHINE = 32  # workers of a machine, which fetches weights once
JITTER = 0.1  # standard deviation of the logarithm of a job's duration
STRETCHES = 5  # that are simulated
SERVERS = (2, 5, 10, 20, 50, 100, 200, 500)  # aggregators, or learners

Loads: TypeAlias = dict[str, dict[str, float]]
"""Seconds of a stretch in which a process or the network is in use, by what for."""


class Line(NamedTuple):
    """Seconds that grow with a number of bytes, or of jobs."""

    fixed: float
    each: float

    def at(self, number: float) -> float:
        """Returns the seconds for a number."""
        return self.fixed + self.each * number


NOTHING = Line(0.0, 0.0)


class Costs(NamedTuple):
    """The costs of a job."""

    up: float  # bytes of its result
    weights: float  # bytes of the policies
    worker: float  # seconds in which a worker plays
    learn: Line = NOTHING  # seconds of an update, by the number of jobs from which it learns
    gradients: int = 0  # that are added up in an update, if there are several learners
    gradient: float = 0.0  # bytes of one


class Outcome(NamedTuple):
    """What a design achieves."""

    servers: int  # aggregators, or learners
    busy: float  # share of the time in which workers play
    limit: str  # what is in use for the largest share of the time
    load: dict[str, float]  # this share, by what for


class Simulation:
    """Play with the costs of a job, of a message for the server, by its bytes, and of adding up gradients.

    `ring` are the seconds of two learners, by the bytes of a gradient.
    """

    def __init__(self, costs: Costs, message: Line, ring: Line = NOTHING, network: float = NETWORK):
        self.costs, self.message, self.ring, self.network = costs, message, ring, network
        self.send, self.random = message.fixed / 2, np.random.default_rng(0)  # half of a fixed cost is that of sending

    def serve(self, start: float, workers: int, jobs: int, busy: float = 0.0) -> float:
        """Returns when a server has all results, if it begins to send at `start` and learns then for `busy` seconds.

        A worker gets its next job when its result was taken.
        """
        clock, link = start + self.costs.weights * ceil(workers / MACHINE) / self.network, 0.0
        durations = iter(self.costs.worker * np.exp(JITTER * self.random.standard_normal(jobs)))
        arrivals: list[float] = []
        for duration in islice(durations, workers):
            clock += self.send
            heapq.heappush(arrivals, clock + duration)
        clock += busy
        while arrivals:
            link = max(link, heapq.heappop(arrivals)) + self.costs.up / self.network
            clock = max(clock, link) + self.message.at(self.costs.up) - self.send
            for duration in islice(durations, 1):
                clock += self.send
                heapq.heappush(arrivals, clock + duration)
        return clock

    def star(self, workers: int, servers: int, learns: bool) -> tuple[float, Loads]:
        """Returns the seconds of a stretch, and the loads, if the process of the run serves all workers and learns."""
        learn = learns * self.costs.learn.at(workers)
        loads = {
            "driver": {"messages": workers * self.message.at(self.costs.up), "learning": learn},
            "network": {"results": workers * self.costs.up / self.network},
        }
        return self.serve(0.0, workers, workers, learn), loads

    def tree(self, workers: int, servers: int, learns: bool) -> tuple[float, Loads]:
        """See `star`; aggregators serve the workers and join results, and the process of the run serves aggregators."""
        size, learn = workers // servers, learns * self.costs.learn.at(workers)
        joined = size * self.costs.up
        clock, link = servers * self.send + learn, 0.0
        for ready in sorted(self.serve(number * self.send, size, size) for number in range(1, servers + 1)):
            link = max(link, ready) + joined / self.network
            clock = max(clock, link) + self.message.at(joined) - self.send
        loads = {
            "driver": {"messages": servers * self.message.at(joined), "learning": learn},
            "network": {"results": workers * self.costs.up / self.network},
            "aggregators": {"messages": size * self.message.at(self.costs.up)},
        }
        return clock, loads

    def learners(self, workers: int, servers: int, learns: bool) -> tuple[float, Loads]:
        """See `star`; each learner serves workers of its own, and gradients are added around a ring, as gloo does.

        That takes 2 (L - 1) messages in a row, each with 1 / L of a gradient.
        """
        size, hops = workers // servers, 2 * (servers - 1)
        byte = max(self.ring.each, 1 / self.network)
        add = hops * (self.ring.fixed / 2 + self.costs.gradient / servers * byte)
        learn, gradients = self.costs.learn.at(size), self.costs.gradients * add
        ends = [self.serve(number * self.send, size, size, learn + gradients) for number in range(1, servers + 1)]
        messages = size * self.message.at(self.costs.up)
        loads = {
            "driver": {"messages": servers * self.message.fixed},
            "network": {"results": size * self.costs.up / self.network},
            "learners": {"messages": messages, "learning": learn, "gradients": gradients},
        }
        return max(ends) + servers * self.send, loads

    def outcome(self, design: "Design", workers: int, servers: int, learns: bool) -> Outcome:
        """Returns what a design achieves with so many aggregators or learners."""
        stretches = [design(self, workers, servers, learns) for _ in range(STRETCHES)]
        seconds = sum(each for each, _ in stretches) / STRETCHES
        loads = stretches[0][1] | {"workers": {"play": self.costs.worker}}
        limit = max(loads, key=lambda name: sum(loads[name].values()))
        load = {part: each / seconds for part, each in loads[limit].items()}
        return Outcome(servers, self.costs.worker / seconds, limit, load)

    def choose(self, design: "Design", workers: int, learns: bool) -> Outcome:
        """Returns what a design achieves with the fewest servers that come within 0.02 of the largest share."""
        numbers = (1,) if design is Simulation.star else [each for each in SERVERS if 2 * each <= workers]
        outcomes = [self.outcome(design, workers, each, learns) for each in numbers]
        most = max(each.busy for each in outcomes)
        return next(each for each in outcomes if each.busy > most - 0.02)


Design: TypeAlias = Callable[[Simulation, int, int, bool], tuple[float, Loads]]
