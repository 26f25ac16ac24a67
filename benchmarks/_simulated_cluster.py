"""A task graph on a cluster that is not here: a discrete-event model of main process, scheduler, workers and network.

The main process does its steps one after the other, as it did when it was measured. What it sends goes to the scheduler
and from there, with its bytes, to a worker: to the one that can begin first, the way of what it needs included, which
is what Dask's placing and stealing come to. Tasks that have places go there, unless another worker is idle and gets
what they need before that one is free. A worker runs one task at a time. What a task needs and its worker does not have
comes from a worker that has it. Each machine has one link in and one out; main process and scheduler share theirs.
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import math
from collections.abc import Callable

from _task_graphs import Task, TaskGraph


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds of a core that Dask takes beside the tasks, as measured.

    Attributes:
        client: of a task, in the main process.
        scheduler: of a task.
        worker: of a task.
        client_byte: of a byte that the main process sends.
        scheduler_byte: of a byte that passes through the scheduler: all that the main process sends or fetches does.
        worker_byte: of a byte that enters or leaves a worker; its link is taken for as long.
    """

    client: float = 0.0
    scheduler: float = 0.0
    worker: float = 0.0
    client_byte: float = 0.0
    scheduler_byte: float = 0.0
    worker_byte: float = 0.0


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Workers and what connects them.

    Attributes:
        workers: their number.
        bandwidth: of a link, bytes a second, in each direction.
        latency: seconds until a message is there.
        cores: how many times as fast as one core a worker runs a task, but for what is serial in it.
        main_cores: the same of the main process.
        costs: of Dask.
        deaths: when which worker dies, in order; another takes its place.
        restart: seconds until it does.
    """

    workers: int
    bandwidth: float = math.inf
    latency: float = 0.0
    cores: float = 1.0
    main_cores: float = 1.0
    costs: Costs = Costs()
    deaths: tuple[tuple[float, int], ...] = ()
    restart: float = 0.0

    @property
    def seconds_of_byte(self) -> float:
        """That a link is taken by a byte: the wire, or the processes at its ends."""
        return max(1.0 / self.bandwidth, self.costs.worker_byte)


@dataclasses.dataclass
class Outcome:
    """What became of a run.

    Attributes:
        seconds: until the main process is done.
        main: seconds that it works by itself, sending included.
        scheduler: seconds that the scheduler works.
        worker: seconds that a worker works, on average.
        link: seconds that the link of main process and scheduler is taken, of the direction that is taken longer.
        sent: bytes from there to workers.
        fetched: bytes from workers to there.
        moved: bytes between workers.
        runs: of tasks, with those that were run again.
    """

    seconds: float = 0.0
    main: float = 0.0
    scheduler: float = 0.0
    worker: float = 0.0
    link: float = 0.0
    sent: float = 0.0
    fetched: float = 0.0
    moved: float = 0.0
    runs: int = 0

    @property
    def binds(self) -> str:
        """What is busy most of the time, and for which share; workers that wait for each other where nothing is."""
        shares = {
            "main process": self.main, "scheduler": self.scheduler, "its link": self.link, "workers": self.worker
        }  # fmt: skip
        name = max(shares, key=lambda key: shares[key])
        return f"{name}, {shares[name] / self.seconds:.0%}" if self.seconds else name


def simulate(graph: TaskGraph, cluster: Cluster) -> Outcome:
    """Run a graph.

    Raises:
        ValueError: a task is waited for that is never sent.
    """
    simulation = _Simulation(graph, cluster)
    simulation.run()
    return simulation.outcome


def shortest(graph: TaskGraph) -> float:
    """Seconds with as many workers as there are tasks, and all else for nothing: what waits for each other."""
    ends: list[float] = []
    now = 0.0
    for step in graph.steps:
        if step.kind == "compute":
            now += step.seconds
        elif step.kind == "submit":
            task = graph.tasks[step.task]
            ends.append(max([now, *(ends[need] for need in task.needs)]) + task.seconds + task.setup + task.serial)
        elif step.kind == "wait":
            now = max(now, ends[step.task])
    return max([now, *ends])


@dataclasses.dataclass
class _Run:
    """A task on its way on a worker: from which others it still gets something, and until when."""

    worker: int
    sources: set[int]
    begins: float
    ends: float


class _Simulation:
    """One use of `simulate`; nodes are the workers, by number, and then the machine of main process and scheduler."""

    def __init__(self, graph: TaskGraph, cluster: Cluster):
        self._graph, self._cluster, self.outcome = graph, cluster, Outcome()
        count, self._hub = len(graph.tasks), cluster.workers
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._events_made = 0
        self._at = 0
        self._waits_for = -1
        self._is_known = [False] * count
        self._is_queued = [False] * count
        self._is_done = [False] * count
        self._places: list[dict[int, float]] = [{} for _ in range(count)]
        """Where each result is, and since when."""
        self._runs: dict[int, _Run] = {}
        self._users = [0] * count
        """How many still need a result: tasks that are not done, and the main process."""
        self._dependents: list[list[int]] = [[] for _ in range(count)]
        self._free = [0.0] * cluster.workers
        self._out = [0.0] * (cluster.workers + 1)
        self._in = [0.0] * (cluster.workers + 1)
        self._set_up: list[set[int]] = [set() for _ in range(cluster.workers)]
        self._scheduler_free = 0.0
        self._is_over = False

    def run(self) -> None:
        for at, worker in self._cluster.deaths:
            self._on(at, lambda now, worker=worker: self._die(worker, now))  # type: ignore[misc]
        self._on(0.0, self._go_on)
        while self._events and not self._is_over:
            now, _, act = heapq.heappop(self._events)
            act(now)
        if not self._is_over:
            raise ValueError(f"the main process waits for task {self._waits_for}, which is never done")
        self.outcome.worker /= self._cluster.workers
        self.outcome.link = max(self.outcome.sent, self.outcome.fetched) * self._cluster.seconds_of_byte

    def _on(self, at: float, act: Callable[[float], None]) -> None:
        self._events_made += 1
        heapq.heappush(self._events, (at, self._events_made, act))

    def _go_on(self, now: float) -> None:
        """Let the main process do its steps until it works by itself or has to wait."""
        steps, costs = self._graph.steps, self._cluster.costs
        while self._at < len(steps):
            step = steps[self._at]
            if step.kind == "wait" and self._events and self._events[0][0] < now:
                self._on(now, self._go_on)  # what happens before then comes first
                return
            self._at += 1
            if step.kind == "submit":
                sending = costs.client + self._graph.tasks[step.task].sent * costs.client_byte
                self.outcome.main += sending
                now += sending
                self._send(step.task, now)
            elif step.kind == "release":
                self._need_less(step.task)
            elif step.kind == "compute":
                seconds = step.seconds / self._cluster.main_cores
                self.outcome.main += seconds
                self._on(now + seconds, self._go_on)
                return
            else:
                self._waits_for = step.task
                self._fetch_awaited(now)
                return
        self.outcome.seconds, self._is_over = now, True

    def _send(self, number: int, now: float) -> None:
        self._users[number] += 1
        for need in self._graph.tasks[number].needs:
            self._users[need] += 1
            self._dependents[need].append(number)
        self._on(now, lambda at: self._know(number, at))

    def _know(self, number: int, now: float) -> None:
        """Let the scheduler take a task, and what it is sent with."""
        self._is_known[number] = True
        size = self._graph.tasks[number].sent * self._cluster.costs.scheduler_byte
        self._queue(number, self._schedule(now, self._cluster.costs.scheduler / 2 + size))

    def _schedule(self, now: float, seconds: float) -> float:
        """Let the scheduler work; when it has."""
        self._scheduler_free = max(self._scheduler_free, now) + seconds
        self.outcome.scheduler += seconds
        return self._scheduler_free

    def _queue(self, number: int, now: float) -> None:
        """Give a task to a worker if all is there that it needs."""
        needs = self._graph.tasks[number].needs
        is_waiting = self._is_known[number] and not self._is_queued[number] and not self._is_done[number]
        if is_waiting and all(self._places[need] for need in needs):
            self._is_queued[number] = True
            self._on(now, lambda at: self._assign(number, at))

    def _assign(self, number: int, now: float) -> None:
        task = self._graph.tasks[number]
        self._is_queued[number] = False
        if not all(self._places[need] for need in task.needs):  # lost just now
            return
        self._is_queued[number] = True
        worker = self._worker_for(task, now)
        arrival, sources = now + self._cluster.latency, set()
        if task.sent:
            arrival = self._move(task.sent, self._hub, worker, now)
            self.outcome.sent += task.sent
        for need in task.needs:
            if worker not in self._places[need]:
                source = min(self._places[need], key=lambda node, need=need: self._since(node, need))  # type: ignore[misc]
                size = self._graph.tasks[need].result_bytes
                self._places[need][worker] = self._move(size, source, worker, max(now, self._places[need][source]))
                self.outcome.moved += size
                sources.add(source)
            arrival = max(arrival, self._places[need][worker])
        seconds = task.seconds
        if task.setup and task.group not in self._set_up[worker]:
            self._set_up[worker].add(task.group)
            seconds += task.setup
        seconds = seconds / self._cluster.cores + task.serial + self._cluster.costs.worker
        run = _Run(worker, sources, arrival, max(self._free[worker], arrival) + seconds)
        self._runs[number], self._free[worker] = run, run.ends
        self.outcome.worker += seconds
        self.outcome.runs += 1
        self._on(run.ends, lambda at: self._end(number, run, at))

    def _since(self, node: int, need: int) -> float:
        return max(self._out[node], self._places[need][node])

    def _worker_for(self, task: Task, now: float) -> int:
        """The worker that can begin first: the one that is free first, or one that has most of what is needed.

        That of a task with a place is the one there, or one that has nothing to do.
        """
        first = self._free.index(min(self._free))
        if task.place >= 0:
            place = task.place % self._cluster.workers
            candidates = [place, first] if self._free[first] <= now else [place]
        else:
            largest = max(task.needs, key=lambda need: self._graph.tasks[need].result_bytes, default=None)
            candidates = [first, *([] if largest is None else [*self._places[largest]][:2])]
        return min(candidates, key=lambda worker: self._begins(task, worker, now))

    def _begins(self, task: Task, worker: int, now: float) -> tuple[float, float]:
        """When a worker can begin a task, and the bytes that it lacks for it."""
        missing = [need for need in task.needs if worker not in self._places[need]]
        size = sum(self._graph.tasks[need].result_bytes for need in missing)
        links = [self._in[worker], *(min(self._since(node, need) for node in self._places[need]) for need in missing)]
        arrival = max([now, *links]) + size * self._cluster.seconds_of_byte if size else now
        return max(self._free[worker], arrival), size

    def _move(self, size: float, source: int, target: int, now: float) -> float:
        """Let bytes travel; when they are there."""
        begins = max(now, self._out[source], self._in[target])
        self._out[source] = self._in[target] = begins + size * self._cluster.seconds_of_byte
        return self._out[source] + self._cluster.latency

    def _end(self, number: int, run: _Run, now: float) -> None:
        if self._runs.get(number) is not run:  # its worker has died
            return
        del self._runs[number]
        self._is_queued[number], self._is_done[number] = False, True
        self._places[number] = {run.worker: now}
        now = self._schedule(now + self._cluster.latency, self._cluster.costs.scheduler / 2)
        for need in self._graph.tasks[number].needs:
            self._need_less(need)
        for dependent in self._dependents[number]:
            self._queue(dependent, now)
        if self._waits_for == number:
            self._fetch_awaited(now)
        if not self._users[number]:
            self._places[number] = {}

    def _need_less(self, number: int) -> None:
        self._users[number] -= 1
        if not self._users[number]:
            self._places[number] = {}

    def _fetch_awaited(self, now: float) -> None:
        number = self._waits_for
        if not self._places[number]:
            return
        self._waits_for = -1
        source = min(self._places[number], key=lambda node: self._since(node, number))
        size = self._graph.tasks[number].result_bytes
        self.outcome.fetched += size
        arrival = self._move(size, source, self._hub, now + self._cluster.latency)
        passed_on = self._schedule(now, size * self._cluster.costs.scheduler_byte)
        self._on(max(arrival, passed_on), self._go_on)

    def _die(self, worker: int, now: float) -> None:
        """Forget what a worker had, and what was to come from it, and have both done again."""
        self._free[worker] = self._out[worker] = self._in[worker] = now + self._cluster.restart
        self._set_up[worker].clear()
        again = [
            number
            for number, run in self._runs.items()
            if run.worker == worker or (worker in run.sources and run.begins > now)
        ]
        for number in again:
            del self._runs[number]
            self._is_queued[number] = False
        for number, places in enumerate(self._places):
            if places.pop(worker, None) is not None and not places and self._users[number]:
                self._restore(number)
                again.append(number)
        for number in sorted({*again, *self._lost_needs(again)}):
            self._queue(number, now)

    def _restore(self, number: int) -> None:
        """A result that is to be made again needs what it was made from once more."""
        self._is_done[number] = False
        for need in self._graph.tasks[number].needs:
            self._users[need] += 1

    def _lost_needs(self, again: list[int]) -> set[int]:
        """Results that had been let go and are needed to make others again."""
        lost: set[int] = set()
        waiting = collections.deque(again)
        while waiting:
            for need in self._graph.tasks[waiting.popleft()].needs:
                if self._is_done[need] and not self._places[need]:
                    lost.add(need)
                    self._restore(need)
                    waiting.append(need)
        return lost
