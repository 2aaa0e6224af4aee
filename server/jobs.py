"""Runs that a person starts from the server: each in a process of its own, one at a time for a gym.

The process is like one of the scheduler's, and has the same place: neither starts one while the other's is at work. It
writes its run into the gym, where it is found however this process ends; a server that is told to end tells it to end,
and what it did goes on when the same is started again.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from understudy.checkpoints.file import now
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.jobs import DREAM, OPTIMIZE, SCHEDULER
from understudy.graph.child import Child, place
from understudy.graph.schedule import COMMANDS, MOST_RUNS, OURS, RUN_ID, sayable
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.recall import next_cycle
from understudy.optimize import NoRun, is_busy, waiting_runs
from understudy.server.problems import Problem

log = logging.getLogger("understudy")

Kind = Literal["optimize", "dream"]

WATCH_SECONDS = 0.2
"""How soon a process is told to end when it must."""

MOST_REMEMBERED = 100
"""Runs of this process that never came as far as the gym, and are remembered here."""

_DOES = {OPTIMIZE: "optimizing", DREAM: "dreaming"}
"""What a process is at that holds the profile's lock; see `optimize.alone`."""


@dataclass
class Begun:
    """A run that this process has started; `status` and `reason` say of one that has ended what its process came to."""

    kind: Kind
    run_id: str
    profile: str
    started_at: str
    resumed: bool
    status: str = "running"
    ended_at: str | None = None
    reason: str | None = None

    def told(self) -> dict[str, Any]:
        """Return it with the keys of a run in the gym."""
        keys = ("kind", "run_id", "profile", "started_at", "ended_at", "status", "reason")
        return {**{key: getattr(self, key) for key in keys}, "made": None}


class Started:
    """The runs that this process has started; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, Begun] = {}
        self._watchers: list[threading.Thread] = []
        self._stopping = threading.Event()

    def start(self, brain: Brain, kind: Kind, profile: str | None = None, options: Sequence[str] = ()) -> Begun:
        """Start a run, or go on with the profile's that has not come to its end.

        Args:
            brain: whose gym; the process has this one's environment and folder.
            kind: what it does.
            profile: whose conversations; None takes BRAIN_PROFILE.
            options: more of the command line.

        Raises:
            Problem: a run is at work already; the message says which, and since when.
        """
        gym, name = gym_of(brain), brain.profile(profile).name
        with self._lock, place(gym.path) as output:
            self._stopping.clear()
            if output is None:
                raise Problem(409, self._at_work(gym))
            unfinished = _unfinished(gym, kind, name)
            if is_busy(_folder(brain, name), _DOES[kind]):
                raise Problem(409, f"another program is {_DOES[kind]} for profile {name}; wait for it to end")
            run_id = unfinished or (next_cycle(gym, name) if kind == DREAM else str(uuid4()))
            command = [part.replace(RUN_ID, run_id) for part in COMMANDS[kind]]
            child = Child([*command, "--profile", name, *options], output, says=False)
            begun = Begun(kind, run_id, name, now(), unfinished is not None)
            self._remember(begun)
            latest = time.monotonic() + MOST_RUNS * 60 * brain.settings.gepa_max_minutes
            watcher = threading.Thread(target=self._watch, args=(begun, child, latest), name=f"understudy-{kind}")
            watcher.daemon = True
            self._watchers = [one for one in self._watchers if one.is_alive()] + [watcher]
            watcher.start()
        log.info("%s of profile %s: begun by hand, process %d", kind, name, child.pid)
        return begun

    def stop(self) -> None:
        """End the processes, within some seconds."""
        self._stopping.set()
        for watcher in list(self._watchers):
            watcher.join()

    def find(self, run_id: str) -> Begun | None:
        """Return a run that this process has started."""
        return self._runs.get(run_id)

    def all(self) -> list[Begun]:
        """Return the runs that this process has started and remembers, the newest first."""
        return list(reversed(self._runs.values()))

    def _remember(self, begun: Begun) -> None:
        self._runs.pop(begun.run_id, None)
        self._runs[begun.run_id] = begun
        if len(self._runs) > MOST_REMEMBERED:
            self._runs.pop(next(iter(self._runs)))

    def _watch(self, begun: Begun, child: Child, latest: float) -> None:
        while not child.ended(WATCH_SECONDS):
            if self._stopping.is_set() or time.monotonic() > latest:
                child.stop()
        status, said = child.last_words()
        lines = sayable(said)
        for line in lines:
            log.warning("%s: %s", begun.kind, line)
        begun.ended_at = now()
        begun.status = "error" if status > 0 else "success" if status == 0 else "interrupted"
        if status:
            told = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            begun.reason = lines[-1].removeprefix(OURS) if said and status > 0 else told
        log.info("%s of profile %s: %s", begun.kind, begun.profile, begun.status)

    def _at_work(self, gym: Gym) -> str:
        """Say which run is at work, who began it, and since when."""
        for run in self.all():
            if run.status == "running":
                return f"{run.kind} of profile {run.profile} runs since {run.started_at}, run {run.run_id}; wait for it"
        for job in gym.jobs.begun():
            held = gym.jobs.holder(SCHEDULER)
            who = f"{held.what['command']}, process {held.what['pid']}" if held else "a process that is gone"
            return f"{job.name} of profile {job.profile} runs since {job.started_at}, begun by {who}; wait for it"
        return "a run that another server began is at work; wait for it"


STARTED = Started()


def runs(brain: Brain, limit: int, before: str | None = None) -> list[dict[str, Any]]:
    """Return runs, the newest first, older ones than the run `before`.

    Keys: kind, run_id, profile, started_at, ended_at, status (running, waiting, interrupted, success, skipped, error),
    reason, made, waits_for (modules).

    Raises:
        NoRun: there is no run `before`.
    """
    gym = gym_of(brain)
    if before is not None and gym.jobs.run(before) is None:
        raise NoRun(f"no run {before[:60]!r} in {gym.path}")
    found = gym.jobs.runs(limit, before)
    if before is None:
        found += [run.told() for run in STARTED.all() if gym.jobs.run(run.run_id) is None]
        found.sort(key=lambda run: str(run["started_at"]), reverse=True)
    return [_told(brain, run) for run in found[:limit]]


def run(brain: Brain, run_id: str) -> dict[str, Any]:
    """Return a run with the keys of `runs`, and its `report`, None while there is none.

    Raises:
        NoRun: there is none.
    """
    gym = gym_of(brain)
    mine = STARTED.find(run_id)
    found = gym.jobs.run(run_id)
    if found is None and mine is None:
        raise NoRun(f"no run {run_id[:60]!r} in {gym.path}; GET /brain/runs lists them")
    return _told(brain, found or {**(mine.told() if mine else {}), "report": None})


def _told(brain: Brain, found: Mapping[str, Any]) -> dict[str, Any]:
    """Say of a run what it is at: it runs as long as its process lives, and then another one can begin."""
    mine = STARTED.find(found["run_id"])
    if mine and mine.status == "running":
        return {**found, "status": "running", "ended_at": None, "waits_for": []}
    if found["ended_at"] is not None:
        return {**found, "waits_for": []}
    if is_busy(_folder(brain, found["profile"]), _DOES[found["kind"]]):
        return {**found, "waits_for": []}
    if found["kind"] == OPTIMIZE:
        waiting = asyncio.run(waiting_runs(gym_of(brain), [found["run_id"]]))
        if waiting:
            return {**found, "status": "waiting", "waits_for": [str(ask["module"]) for ask in waiting[found["run_id"]]]}
    reason = (mine and mine.reason) or "ended before it was done; start it again, and it goes on"
    return {**found, "status": "interrupted", "reason": reason, "waits_for": []}


def _unfinished(gym: Gym, kind: Kind, profile: str) -> str | None:
    return gym.runs.unfinished(profile) if kind == OPTIMIZE else gym.dreams.unfinished_cycle(profile)


def _folder(brain: Brain, profile: str) -> Path:
    return brain.settings.optimized_modules_dir / profile
