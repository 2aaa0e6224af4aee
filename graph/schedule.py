"""What starts learning, dreaming and the daily erasure: of all processes the one with the lease, one run at a time.

    APScheduler -- every minute --> look: is the job due? --> run: a child process --> what became of it, into the gym
    Lease       -- renewed -------> who may look, and may go on running

A run is noted in the gym before its process is started. Whatever ends this process or the child, the run is found there
and goes on, here or in the next owner of the lease, and does not count as another one.
"""

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from understudy.checkpoints.file import GymError
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.jobs import DREAM, OPTIMIZE, RETENTION, SCHEDULER, Job
from understudy.checkpoints.lease import Lease
from understudy.graph.child import Child, clear, place, result
from understudy.graph.due import Due, due, obstacle
from understudy.settings import Settings

log = logging.getLogger("understudy")

LOOK_SECONDS = 60.0
"""How often it is looked whether a job is due."""

WATCH_SECONDS = 0.2
"""How soon a child is told to end when it must."""

MOST_SECONDS_PUT_OFF = 3600.0
"""A run that does not come to an end is tried again after one look, two, four, and so on up to this."""

MOST_RUNS = 8
"""A process is ended after so many times GEPA_MAX_MINUTES: each module may take that long once, and there are five."""

JUMP_SECONDS = 1.0
"""From which on a change of the wall clock is no slow correction."""

RUN_ID = "{run_id}"
"""Stands in a command for the id of the run."""

UNDERSTUDY = (sys.executable, "-P", "-c", "from understudy.cli import main; main()")
"""Begins a command of ours in a process of its own."""

COMMANDS: dict[str, Sequence[str]] = {
    OPTIMIZE: (*UNDERSTUDY, "optimize", "--json", "--run-id", RUN_ID),
    DREAM: (*UNDERSTUDY, "dream", "--json", "--run-id", RUN_ID),
    RETENTION: (*UNDERSTUDY, "forget", "--expired", "--json", "--run-id", RUN_ID),
}
"""What a job runs: it prints a JSON object with a `status`."""


OURS = "understudy: "
"""What every line begins with that the command line prints on stderr for people."""

_KIND = re.compile(r"[A-Za-z_][\w.]*")


def sayable(said: Sequence[str]) -> list[str]:
    """Return the lines of a process's stderr that a log may hold: ours, and of a traceback the kind of the error.

    Its message may quote what somebody has said.
    """
    lines = [line for line in said if line.startswith(OURS)]
    last = said[-1] if said else OURS
    if not last.startswith(OURS):
        kind = _KIND.match(last)
        lines.append(f"{kind[0] if kind else 'a line'}, and what else it said on stderr is not repeated here")
    return lines


class _Every(BaseTrigger):
    """Fires so many seconds after it has fired; APScheduler's own goes through all that a clock has skipped."""

    def __init__(self, seconds: float) -> None:
        self._pause = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """Return when to fire next."""
        return now + self._pause


class Scheduler:
    """Starts the jobs of one profile, from `start` to `stop`, while this process holds the lease.

    Args:
        gym: where the jobs are noted.
        settings: of the children too: they have the environment and the folder of this process.
        profile: the name of BRAIN_PROFILE.
        command: what this process is, for people.
        commands: what the jobs run, by name.
        look_seconds: how often it is looked whether one is due; LOOK_SECONDS if left out.
        say: told what is begun and what became of it.
    """

    def __init__(
        self,
        gym: Gym,
        settings: Settings,
        profile: str,
        command: str,
        *,
        commands: Mapping[str, Sequence[str]] | None = None,
        look_seconds: float | None = None,
        say: Callable[[str], object] = log.info,
    ) -> None:
        self._gym, self._settings, self._profile, self._say = gym, settings, profile, say
        self._commands = commands or COMMANDS
        self._look_seconds = look_seconds or LOOK_SECONDS
        self.lease = Lease(
            gym.jobs, SCHEDULER, settings.lease_seconds, command, on_taken=self._taken, on_beat=self._mind_the_clock
        )
        self._stopping = threading.Event()
        self._one = threading.Lock()
        self._tries: dict[str, tuple[int, float]] = {}
        self._offset = time.time() - time.monotonic()
        self._clock = BackgroundScheduler(
            timezone=UTC,  # else it would look for the machine's own, in files
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},  # a late look is as good
        )

    def start(self) -> None:
        """Ask for the lease, and look at the jobs every minute."""
        logging.getLogger("apscheduler").setLevel(logging.WARNING)  # it would tell of every look
        for name in self._commands:
            self._clock.add_job(self.look, _Every(self._look_seconds), (name,), id=name)
        self._clock.start()
        self.lease.start()

    def stop(self) -> None:
        """End the child, and give the lease back; within some seconds. What it did goes on with the next owner."""
        self._stopping.set()
        self._one.acquire()  # the run that goes on has ended by then, and none begins any more
        self.lease.stop()
        self._clock.shutdown()

    def look(self, name: str) -> None:
        """Start a job if it is due and this process may."""
        if not self.lease.held or self._stopping.is_set():
            return
        try:
            self._look(name)
        except GymError as error:
            log.warning("job %s: not looked at: %s", name, error)

    def _look(self, name: str) -> None:
        jobs = self._gym.jobs
        job = jobs.seen(name, self._profile)
        hindered = obstacle(self._settings, name)
        at = due(self._gym, self._settings, job)
        if hindered or not at.now:
            jobs.hinder(job, hindered)
        elif time.monotonic() >= self._tries.get(name, (0, 0.0))[1]:
            if self._one.acquire(blocking=False):
                threading.Thread(target=self._work, args=(job, at), name=f"understudy-{name}", daemon=True).start()
            elif job.run_id is None and not self._stopping.is_set():
                jobs.hinder(job, "another job runs; this one comes next")

    def _work(self, job: Job, at: Due) -> None:
        try:
            self._begin(job, at)
        except (GymError, OSError) as error:
            log.warning("job %s: %s", job.name, error)
        finally:
            self._one.release()

    def _begin(self, job: Job, at: Due) -> None:
        """Begin a run, or go on with one; if its process has come to an end without its owner, take what it left."""
        gym = self._gym
        with place(gym.path) as output:
            if output is None:
                gym.jobs.hinder(job, "a run goes on that another process began")
                return
            if job.run_id and self._noted(job, job.run_id):
                return
            clear(gym.path)
            run_id = gym.jobs.begin(self.lease.owner, job, at.mark, str(uuid4()))
            if run_id is None or not self.lease.held:
                return
            child = Child([part.replace(RUN_ID, run_id) for part in self._commands[job.name]], output)
        self._say(f"{job.name} of profile {job.profile}: {'goes on' if job.run_id else 'begins'}, process {child.pid}")
        latest = time.monotonic() + MOST_RUNS * 60 * self._settings.gepa_max_minutes
        while not child.ended(WATCH_SECONDS):
            if self._stopping.is_set() or not self.lease.held or time.monotonic() > latest:
                child.stop()
        status, said = child.last_words()
        for line in sayable(said):
            log.warning("%s: %s", job.name, line)
        if not self.lease.held:
            log.warning("%s: the lease is lost; its next owner goes on", job.name)
        elif not self._noted(job, run_id) and not self._stopping.is_set():
            self._put_off(job, status, said)

    def _noted(self, job: Job, run_id: str) -> bool:
        """Write into the gym what became of a run, if its process has said so."""
        found = result(self._gym.path)
        if found is None:
            return False
        self._gym.jobs.end(job, run_id, found["status"], found.get("reason"))
        clear(self._gym.path)
        self._tries.pop(job.name, None)
        self._say(f"{job.name} of profile {job.profile}: {found['status']}")
        return True

    def _put_off(self, job: Job, status: int, said: Sequence[str]) -> None:
        """Try again later: the process was killed, or could not begin, as when somebody else is at it."""
        tries = self._tries.get(job.name, (0, 0.0))[0] + 1
        seconds = min(MOST_SECONDS_PUT_OFF, self._look_seconds * 2 ** min(tries - 1, 20))
        self._tries[job.name] = (tries, time.monotonic() + seconds)
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        why = sayable(said)[-1].removeprefix(OURS) if said and status >= 0 else how
        self._gym.jobs.hinder(job, why, seconds)
        log.warning("%s: put off for %.0f s: %s", job.name, seconds, why)

    def _taken(self) -> None:
        self._say("jobs are started from here")
        self._look_now()

    def _mind_the_clock(self) -> None:
        """Look at once when the wall clock was set: APScheduler would wait until it is again what it was."""
        offset = time.time() - time.monotonic()
        if abs(offset - self._offset) > JUMP_SECONDS:
            self._look_now()
        self._offset = offset

    def _look_now(self) -> None:
        for job in self._clock.get_jobs():
            job.modify(next_run_time=datetime.now(UTC))
