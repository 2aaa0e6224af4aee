"""Leases and jobs: one owner at a time, whatever clocks and processes do."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from understudy.checkpoints import jobs as jobs_file
from understudy.checkpoints import lease as lease_file
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.jobs import DREAM, OPTIMIZE, SCHEDULER, boot
from understudy.checkpoints.lease import Lease
from understudy.checkpoints.schema import migrations

YEAR = 366 * 86400.0
DECISION = (
    "INSERT INTO brain_decisions (decision_id, conversation_id, turn, message_id, profile, created_at, user_message,"
    " history_upto, readings, faults, versions, models, tokens_in, tokens_out, latency_ms, engine, brain_mode)"
    " VALUES (?1, ?1, 0, 'm', ?2, '2026-01-01', '', 0, '{}', '[]', '{}', '{}', 0, 0, 0, '', 'shadow')"
)
EVENT = (
    "INSERT INTO events (conversation_id, seq, kind, turn, message_id, role, text, profile, processed_at)"
    " VALUES (?1, 0, 'customer_message', 0, 'm', 'customer', '', ?2, '2026-01-01')"
)
_numbers = count()


@pytest.fixture
def gym(home: Path) -> Iterator[Gym]:
    gym = Gym(home / "brain_gym.db")
    yield gym
    gym.close()


def decide(gym: Gym, count: int, profile: str = "default") -> None:
    """Write decisions of which nothing is known but that they were made."""
    made = [(f"d{next(_numbers)}", profile) for _ in range(count)]
    with gym.writing():
        gym.connection.executemany(EVENT, made)
        gym.connection.executemany(DECISION, made)


class Clock:
    """A clock of the machine that the test turns on."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seconds = 1000.0
        for module in (jobs_file, lease_file):
            patch.setattr(module, "monotonic", lambda: self.seconds)


def jumped(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the wall clock, for all of ours that read it."""

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=seconds)

    patch.setattr("understudy.checkpoints.jobs.datetime", Jumped)
    patch.setattr("understudy.checkpoints.file.datetime", Jumped)
    true = time.time
    patch.setattr(time, "time", lambda: true() + seconds)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 2), st.sampled_from([0.0, 1.0, 4.0, 11.0])),
        st.tuples(st.just("later"), st.just(0), st.floats(0, 12)),
        st.tuples(st.just("jump"), st.just(0), st.sampled_from([-YEAR, 0.0, YEAR])),
        st.tuples(st.just("release"), st.integers(0, 2), st.just(0.0)),
    ),
    max_size=25,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_no_two_own_a_lease_whatever_happens(gym: Gym, steps: list[tuple[str, int, float]]) -> None:
    """Asking may take long, as when the file is locked; clocks jump; owners are suspended, which is asking no more."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        take = gym.jobs.take

        def slowly(seconds: float) -> Callable[..., Any]:
            def taking(*arguments: Any) -> Any:
                clock.seconds += seconds / 2
                held = take(*arguments)
                clock.seconds += seconds / 2
                return held

            return taking

        leases = [Lease(gym.jobs, "test", 10, "test") for _ in range(3)]
        for what, who, seconds in steps:
            if what == "ask":
                patch.setattr(gym.jobs, "take", slowly(seconds))
                leases[who].ask()
            elif what == "later":
                clock.seconds += seconds
            elif what == "jump":
                jumped(patch, seconds)
            else:
                gym.jobs.release("test", leases[who].owner)
                leases[who]._until = float("-inf")
            owners = [lease.owner for lease in leases if lease.held]
            held = gym.jobs.holder("test")
            assert len(owners) <= 1
            assert not owners or (held is not None and held.owner == owners[0])
        clock.seconds += 10.01
        patch.setattr(gym.jobs, "take", take)
        leases[0].ask()
        assert leases[0].held, "nobody is starved once the others are gone"
        gym.jobs.release("test", leases[0].owner)


@pytest.mark.parametrize("seconds", [-YEAR, YEAR])
def test_a_wall_clock_that_jumps_changes_no_owner(gym: Gym, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    one, two = (Lease(gym.jobs, SCHEDULER, 10, "test") for _ in range(2))
    one.ask()
    jumped(monkeypatch, seconds)
    two.ask()
    assert (one.held, two.held) == (True, False)
    one.ask()
    assert one.held and two.other is not None and two.other.what["pid"] == os.getpid()


def test_a_lease_of_an_earlier_start_of_the_machine_has_expired(gym: Gym) -> None:
    one, two = (Lease(gym.jobs, SCHEDULER, 1000, "test") for _ in range(2))
    one.ask()
    with gym.writing():
        gym.connection.execute("UPDATE lease SET boot = 'an earlier one', expires = 1e12")
    assert gym.jobs.holder(SCHEDULER) is None
    two.ask()
    one.ask()
    assert (one.held, two.held) == (False, True)


def test_an_owner_whose_file_is_locked_notices_in_time(gym: Gym, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    one = Lease(gym.jobs, SCHEDULER, 10, "test")
    one.ask()
    with closing(sqlite3.connect(gym.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        gym.connection.execute("PRAGMA busy_timeout=10")
        clock.seconds += 9
        assert one.ask() == 1 and one.held
        clock.seconds += 1
        assert not one.held
        other.execute("ROLLBACK")
    one.ask()
    assert one.held


HOLD = """
import sys, time
from pathlib import Path
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.lease import Lease
lease = Lease(Gym(Path("brain_gym.db")).jobs, "scheduler", 1.0, "another", on_taken=lambda: print("mine", flush=True))
lease.start()
time.sleep(60)
"""


def test_of_two_processes_one_owns_and_the_other_takes_over_when_it_is_killed(gym: Gym) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "mine\n"
    taken: list[float] = []
    lease = Lease(gym.jobs, SCHEDULER, 1.0, "test", on_taken=lambda: taken.append(time.monotonic()))
    lease.start()
    time.sleep(1.2)  # longer than a lease: the other has renewed
    held = gym.jobs.holder(SCHEDULER)
    assert not lease.held and held is not None and held.what["pid"] == process.pid
    process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    process.wait()
    process.stdout.close()
    while not taken:
        time.sleep(0.01)
    assert lease.held and taken[0] < killed + 1.0 + 0.5, "within one lease, and what a busy machine takes"
    lease.stop()
    assert not lease.held and gym.jobs.holder(SCHEDULER) is None


# Jobs


def test_decisions_are_counted_by_profile_and_erasing_one_lowers_nothing(gym: Gym) -> None:
    decide(gym, 3)
    decide(gym, 2, "star")
    with gym.writing():
        gym.connection.execute("DELETE FROM brain_decisions WHERE rowid = 1")
    assert [gym.jobs.decisions(name) for name in ("default", "star", "retail")] == [3, 2, 0]


def test_decisions_of_an_older_gym_are_counted(home: Path) -> None:
    db = Database(home / "old.db")
    migrations.apply(db, stop_before="m010_jobs")
    with closing(sqlite3.connect(home / "old.db")) as file:
        file.execute(DECISION, ("d", "star"))
        file.commit()
    gym = Gym(home / "old.db")
    assert gym.jobs.decisions("star") == 1
    gym.close()


def test_a_run_begins_once_and_only_for_the_owner(gym: Gym) -> None:
    lease = Lease(gym.jobs, SCHEDULER, 60, "test")
    job = gym.jobs.seen(OPTIMIZE, "default")
    assert gym.jobs.begin(lease.owner, job, 100, "r1") is None, "nobody holds the lease"
    lease.ask()
    assert gym.jobs.begin("somebody else", job, 100, "r1") is None
    assert gym.jobs.begin(lease.owner, job, 100, "r1") == "r1"
    assert gym.jobs.begin(lease.owner, job, 100, "r2") is None, "it is not what it was"
    begun = gym.jobs.seen(OPTIMIZE, "default")
    assert (begun.mark, begun.run_id) == (100, "r1") and begun.started_at is not None
    assert gym.jobs.begin(lease.owner, begun, 200, "r2") == "r1", "a run that has not ended goes on"
    gym.jobs.end(begun, "r2", "error", "no such run")
    gym.jobs.end(begun, "r1", "skipped", "too little")
    gym.jobs.end(begun, "r1", "success", None)
    ended = gym.jobs.seen(OPTIMIZE, "default")
    assert (ended.mark, ended.run_id, ended.status, ended.reason) == (100, None, "skipped", "too little")


def test_a_run_begun_by_hand_counts_all_decisions(gym: Gym) -> None:
    lease = Lease(gym.jobs, SCHEDULER, 60, "test")
    lease.ask()
    decide(gym, 130)
    gym.jobs.begin(lease.owner, gym.jobs.seen(OPTIMIZE, "default"), 100, "scheduled")
    gym.jobs.begun_by_hand("default", "scheduled")
    assert gym.jobs.seen(OPTIMIZE, "default").mark == 100, "this one is the scheduler's"
    gym.jobs.begun_by_hand("default", "by hand")
    job = gym.jobs.seen(OPTIMIZE, "default")
    assert (job.mark, job.run_id) == (130, None), "the scheduled one had not come to anything"
    job = gym.jobs.seen(OPTIMIZE, "default")
    gym.jobs.begin(lease.owner, job, 230, "scheduled")
    gym.runs.save({"run_id": "scheduled", "profile": "default", "started_at": "", "status": "running",
                  "decisions_processed": 0})  # fmt: skip
    gym.jobs.begun_by_hand("default", "by hand too")
    assert gym.jobs.seen(OPTIMIZE, "default").run_id == "scheduled"


@given(hours=st.floats(-9000, 9000), up=st.floats(0, 1e6))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_between_two_starts_of_the_machine_the_wall_clock_counts(gym: Gym, hours: float, up: float) -> None:
    began = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    first = gym.jobs.seen(DREAM, "default")
    with gym.writing():
        gym.connection.execute("UPDATE jobs SET since_at = ?, since_boot = 'earlier', since_monotonic = ?", (began, up))
    job = gym.jobs.seen(DREAM, "default")
    assert job.since_boot == boot() and replace(job, since_at="", since_monotonic=0.0) == replace(
        first, since_at="", since_monotonic=0.0
    )
    assert job.waited == pytest.approx(max(0, hours * 3600), abs=5), "what lies in the future is now"


@pytest.mark.parametrize("seconds", [-YEAR, YEAR])
def test_within_a_start_of_the_machine_the_wall_clock_counts_nothing(
    gym: Gym, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    clock = Clock(monkeypatch)
    gym.jobs.seen(DREAM, "default")
    jumped(monkeypatch, seconds)
    clock.seconds += 7
    assert gym.jobs.seen(DREAM, "default").waited == 7


def test_every_column_is_documented_where_it_is_made(gym: Gym) -> None:
    for name in ("lease", "jobs", "decision_counts"):
        lines = Database(gym.path).table(name).schema.splitlines()[1:-1]
        assert not [line for line in lines if "--" not in line and "PRIMARY KEY" not in line and ")" not in line]
