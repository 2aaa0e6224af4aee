"""The scheduler: what it starts, once and no oftener, whoever is killed; with a stand-in for what the jobs run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.benchmarks.prove import run_cli
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.jobs import DREAM, OPTIMIZE, RETENTION, SCHEDULER
from understudy.events import Event
from understudy.graph import child as child_file
from understudy.graph.due import due, in_words, outlook
from understudy.graph.schedule import COMMANDS, Scheduler
from understudy.settings import Settings
from understudy.tests.checkpoints.test_jobs import YEAR, decide

STAND_IN = """
import json, os, signal, sys, time
name, run_id = sys.argv[1:]
def note(what):
    with open("runs", "a") as file:
        file.write(json.dumps([what, name, run_id, os.getpid()]) + "\\n")
if os.path.exists("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
note("begin")
while os.path.exists("wait"):
    time.sleep(0.01)
if os.path.exists("busy"):
    sys.exit("understudy: another process is optimising this profile; wait for it to end")
note("end")
print(json.dumps({"status": "skipped" if os.path.exists("skip") else "success", "reason": "it said so"}))
"""
STANDING_IN = {name: (sys.executable, "-ISc", STAND_IN, name, "{run_id}") for name in (OPTIMIZE, DREAM)}


@pytest.fixture
def gym(home: Path) -> Iterator[Gym]:
    gym = Gym(home / "brain_gym.db")
    yield gym
    gym.close()


def scheduler(gym: Gym, **options: Any) -> Scheduler:
    """Return one that owns the lease, and looks when it is told to."""
    given = {"commands": STANDING_IN, "look_seconds": options.pop("look_seconds", 0.01)}
    own = Settings(**{"lease_seconds": 60, **options})
    made = Scheduler(gym, own, "default", "test", **given)
    made.lease.ask()
    return made


def look(one: Scheduler, name: str = OPTIMIZE) -> None:
    """Look, and wait until what is begun has ended."""
    one.look(name)
    with one._one:
        pass


def left(one: Scheduler) -> None:
    """Leave, as a process that ends."""
    one._gym.jobs.release(SCHEDULER, one.lease.owner)


def runs(what: str = "begin", name: str = OPTIMIZE) -> list[str]:
    lines = Path("runs").read_text().splitlines() if Path("runs").exists() else []
    return [run for did, job, run, _ in map(json.loads, lines) if (did, job) == (what, name)]


def until(true: Callable[[], Any]) -> None:
    for _ in range(2000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come")


def test_the_100th_decision_starts_one_run_and_the_200th_the_next(gym: Gym) -> None:
    one = scheduler(gym)
    for come, wanted in ((99, 0), (1, 1), (30, 1), (69, 1), (1, 2), (0, 2), (350, 3), (49, 3), (1, 4)):
        decide(gym, come)
        look(one)
        look(one)
        assert len(runs()) == wanted, f"at {gym.jobs.decisions('default')}"
        left(one)
        one = scheduler(gym)
    assert gym.jobs.seen(OPTIMIZE, "default").mark == 600 and len(set(runs())) == 4


def test_30_that_came_before_the_look_count_for_the_next_run(gym: Gym) -> None:
    one = scheduler(gym)
    decide(gym, 130)
    decide(gym, 500, "star")
    look(one)
    decide(gym, 69)
    look(one)
    assert len(runs()) == 1
    decide(gym, 1)
    look(one)
    assert len(runs()) == 2


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=3, max_size=6))
def test_no_decision_is_lost_or_counted_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("jobs"))
        gym = Gym(Path("brain_gym.db"))
        one, marks = scheduler(gym, rl_gym_optimize_interval=5), [0]
        for come, restart in steps:
            arriving = threading.Thread(target=decide, args=(gym, come))
            arriving.start()
            look(one)
            arriving.join()
            look(one)
            marks.append(gym.jobs.seen(OPTIMIZE, "default").mark)
            if restart:
                left(one)
                one = scheduler(gym, rl_gym_optimize_interval=5)
        total = gym.jobs.decisions("default")
        assert marks[-1] == total // 5 * 5 and len(set(runs())) == len(runs()) <= total // 5
        assert len(runs()) >= len(set(marks)) - 1, "a look may find two intervals at once, and then one run does"
        gym.close()


def test_a_child_that_is_killed_goes_on_and_is_no_other_run(gym: Gym) -> None:
    one = scheduler(gym)
    decide(gym, 100)
    Path("wait").touch()
    one.look(OPTIMIZE)
    until(runs)
    os.kill(json.loads(Path("runs").read_text().splitlines()[0])[3], signal.SIGKILL)
    with one._one:
        Path("wait").unlink()
    job = gym.jobs.seen(OPTIMIZE, "default")
    assert (job.mark, job.hindrance) == (100, "killed by signal 9") and job.next_at is not None
    until(lambda: look(one) or gym.jobs.seen(OPTIMIZE, "default").run_id is None)
    look(one)
    assert len(runs()) == 2 and len(set(runs())) == 1 and runs("end") == runs()[:1]
    job = gym.jobs.seen(OPTIMIZE, "default")
    assert (job.mark, job.status, job.hindrance, job.next_at) == (100, "success", None, None)


def test_a_child_that_hangs_is_ended_and_tried_again(gym: Gym) -> None:
    one = scheduler(gym, gepa_max_minutes=0.0005)
    decide(gym, 100)
    Path("wait").touch()
    look(one)
    Path("wait").unlink()
    assert gym.jobs.seen(OPTIMIZE, "default").hindrance == "killed by signal 15"
    until(lambda: look(one) or runs("end"))
    assert len(set(runs())) == 1


OWNER = f"""
import sys, time
from pathlib import Path
from understudy.checkpoints.gym import Gym
from understudy.graph.schedule import Scheduler
from understudy.settings import Settings
commands = {{name: (sys.executable, "-ISc", {STAND_IN!r}, name, "{{run_id}}") for name in ("optimize", "dream")}}
Scheduler(Gym(Path("brain_gym.db")), Settings(lease_seconds=1), "default", "another", commands=commands,
          look_seconds=0.05).start()
time.sleep(60)
"""


def test_a_run_whose_owner_is_killed_is_neither_lost_nor_repeated(gym: Gym) -> None:
    """Its child lives on: the next owner waits for it, and takes what it says."""
    Path("wait").touch()
    decide(gym, 100)
    owner = subprocess.Popen([sys.executable, "-c", OWNER])
    until(runs)
    one = scheduler(gym, lease_seconds=1)
    assert not one.lease.held and gym.jobs.seen(OPTIMIZE, "default").run_id == runs()[0]
    owner.kill()
    owner.wait()
    until(lambda: one.lease.ask() and one.lease.held)
    look(one)
    hindrance = gym.jobs.seen(OPTIMIZE, "default").hindrance
    assert hindrance == "a run goes on that another process began"
    Path("wait").unlink()
    until(lambda: one.lease.ask() and (look(one) or gym.jobs.seen(OPTIMIZE, "default").run_id is None))
    assert runs() == runs("end") and len(runs()) == 1
    assert gym.jobs.seen(OPTIMIZE, "default").status == "success"
    assert Path("brain_gym.db-job").read_bytes() == b"" and Path("brain_gym.db-job").stat().st_mode & 0o777 == 0o600


def test_a_child_is_ended_when_the_lease_is_lost(gym: Gym, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_file, "SECONDS_TO_END", 0.2)
    Path("wait").touch()
    Path("deaf").touch()
    decide(gym, 100)
    one, two = scheduler(gym), scheduler(gym)
    one.look(OPTIMIZE)
    until(runs)
    with gym.writing():
        gym.connection.execute("UPDATE lease SET owner = ?, expires = 1e12", (two.lease.owner,))
    two.lease.ask()
    one.lease.ask()
    with one._one:
        Path("wait").unlink()
    assert runs("end") == []
    look(one)
    assert len(runs()) == 1, "it may not any more"
    look(two)
    assert len(runs()) == 2 and len(set(runs())) == 1 and len(runs("end")) == 1


def test_one_at_a_time_and_the_other_comes_next(gym: Gym) -> None:
    Path("wait").touch()
    decide(gym, 100)
    one = scheduler(gym, dream_interval_hours=1e-9)
    one.look(OPTIMIZE)
    until(runs)
    one.look(DREAM)
    assert gym.jobs.seen(DREAM, "default").hindrance == "another job runs; this one comes next"
    Path("wait").unlink()
    with one._one:
        pass
    look(one, DREAM)
    assert len(runs(name=DREAM)) == 1 and gym.jobs.seen(DREAM, "default").hindrance is None


def told(gym: Gym, name: str, **options: Any) -> dict[str, Any]:
    return next(one for one in outlook(gym, Settings(**options), "default") if one["name"] == name)


def test_why_a_job_does_not_run_is_noted(gym: Gym) -> None:
    assert "no process starts it" in told(gym, OPTIMIZE)["reason"]
    assert told(gym, OPTIMIZE, scheduler_enabled=False)["reason"] == "SCHEDULER_ENABLED=false"
    assert told(gym, OPTIMIZE)["decisions_missing"] == 100
    one = scheduler(gym, dream_enabled=False, dream_interval_hours=1e-9)
    other = Scheduler(gym, Settings(), "default", "second", commands=STANDING_IN)
    look(one, DREAM)
    look(one)
    assert gym.jobs.seen(DREAM, "default").hindrance == "DREAM_ENABLED=false" and runs(name=DREAM) == []
    found = told(gym, DREAM, dream_enabled=False)
    assert (found["reason"], found["next_run"], found["last_run"]) == ("DREAM_ENABLED=false", None, None)
    assert found["owner"]["pid"] == os.getpid() and found["owner"]["command"] == "test"
    decide(gym, 100)
    other.lease.ask()
    look(other)
    assert runs() == [] and other.lease.other is not None and other.lease.other.what["command"] == "test"
    Path("skip").touch()
    look(one)
    found = told(gym, OPTIMIZE)
    assert (found["last_status"], found["reason"], found["decisions_missing"]) == ("skipped", "it said so", 100)
    assert "after 100 more decisions; last run 20" in in_words(found) and "skipped (it said so)" in in_words(found)


def test_a_run_whose_process_is_gone_does_not_run(gym: Gym) -> None:
    decide(gym, 100)
    one = scheduler(gym)
    assert gym.jobs.begin(one.lease.owner, gym.jobs.seen(OPTIMIZE, "default"), 100, "r")
    with child_file.place(gym.path):
        found = told(gym, OPTIMIZE)
        assert (found["last_status"], found["reason"]) == ("running", None)
        assert in_words(found).startswith("running since 20")
    found = told(gym, OPTIMIZE)
    assert found["last_status"] == "interrupted" and "it goes on" in found["reason"]
    assert "interrupted (it goes on" in in_words(found)


def test_a_run_that_cannot_begin_is_put_off_ever_longer_and_not_lost(gym: Gym) -> None:
    Path("busy").touch()
    decide(gym, 100)
    one = scheduler(gym, look_seconds=100)
    look(one)
    look(one)
    found = told(gym, OPTIMIZE)
    assert found["reason"] == "another process is optimising this profile; wait for it to end" and len(runs()) == 1
    assert found["last_status"] == "interrupted" and found["next_run"] > found["last_run"]
    tries, _ = one._tries[OPTIMIZE]
    one._tries[OPTIMIZE] = (tries, 0.0)
    look(one)
    seconds = one._tries[OPTIMIZE][1] - time.monotonic()
    assert 100 < seconds <= 200 and len(set(runs())) == 1
    Path("busy").unlink()
    one._tries[OPTIMIZE] = (2, 0.0)
    look(one)
    assert told(gym, OPTIMIZE)["last_status"] == "success" and len(set(runs())) == 1


def test_what_a_failed_process_quotes_is_in_no_log(gym: Gym, caplog: pytest.LogCaptureFixture) -> None:
    quotes = "import sys; print('understudy: it goes on', file=sys.stderr); raise ValueError('Ines is fed up')"
    decide(gym, 100)
    one = scheduler(gym)
    one._commands = {OPTIMIZE: (sys.executable, "-ISc", quotes)}
    look(one)
    assert "Ines" not in caplog.text and "understudy: it goes on" in caplog.text and "ValueError, and" in caplog.text
    assert "Ines" not in str(told(gym, OPTIMIZE)["reason"])


def test_dreams_come_by_the_hour(gym: Gym) -> None:
    one = scheduler(gym)
    look(one, DREAM)
    assert runs(name=DREAM) == [], "the first comes one interval after the first look"
    left(one)

    def pass_hours(hours: float) -> None:
        with gym.writing():
            gym.connection.execute("UPDATE jobs SET since_monotonic = since_monotonic - ?", (hours * 3600,))

    for hours, wanted in ((5.9, 0), (0.2, 1), (0, 1), (5.9, 1), (0.2, 2)):
        pass_hours(hours)
        one = scheduler(gym)
        look(one, DREAM)
        assert len(runs(name=DREAM)) == wanted
        left(one)
    one.lease.ask()
    left_over = datetime.fromisoformat(told(gym, DREAM)["next_run"]) - datetime.now().astimezone()
    assert timedelta(hours=5.9) < left_over < timedelta(hours=6.1)


@pytest.mark.parametrize("seconds", [-YEAR, YEAR])
def test_a_clock_that_jumps_starves_and_repeats_nothing(
    gym: Gym, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """APScheduler goes by the wall clock."""
    offset = [0.0]

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=offset[0])

    for module in ("apscheduler.schedulers.base", "apscheduler.executors.base",
                   "understudy.graph.schedule", "understudy.checkpoints.jobs"):  # fmt: skip
        monkeypatch.setattr(f"{module}.datetime", Jumped)
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + offset[0])
    one = Scheduler(gym, Settings(lease_seconds=0.6), "default", "test", commands=STANDING_IN, look_seconds=0.05)
    one.start()
    decide(gym, 100)
    until(lambda: runs("end"))
    offset[0] = seconds
    decide(gym, 100)
    until(lambda: len(runs("end")) == 2)
    time.sleep(0.3)
    one.stop()
    assert len(runs()) == 2 and runs(name=DREAM) == [] and gym.jobs.holder(SCHEDULER) is None


def test_stopping_ends_the_child_and_its_run_goes_on_later(gym: Gym) -> None:
    Path("wait").touch()
    decide(gym, 100)
    one = Scheduler(gym, Settings(), "default", "test", commands=STANDING_IN, look_seconds=0.05)
    one.start()
    until(runs)
    one.stop()
    assert gym.jobs.holder(SCHEDULER) is None and runs("end") == []
    Path("wait").unlink()
    again = scheduler(gym)
    look(again)
    assert len(runs()) == 2 and len(set(runs())) == 1 and len(runs("end")) == 1


def test_what_is_too_old_is_erased_at_once_and_then_every_day(gym: Gym, monkeypatch: pytest.MonkeyPatch) -> None:
    gym.append("old", [Event(kind="customer_message", text="hello", at="2026-01-01T00:00:00Z")], "default")
    commands = {RETENTION: COMMANDS[RETENTION]}
    one = Scheduler(gym, Settings(), "default", "test", commands=commands)
    one.lease.ask()
    look(one, RETENTION)
    assert told(gym, RETENTION)["reason"] == "RL_GYM_RETENTION_DAYS=0: everything is kept"
    assert gym.counts()["conversations"] == 1
    left(one)
    monkeypatch.setenv("RL_GYM_RETENTION_DAYS", "30")
    one = Scheduler(gym, Settings(), "default", "test", commands=commands)
    one.lease.ask()
    look(one, RETENTION)
    found = told(gym, RETENTION)
    assert (found["last_status"], found["reason"]) == ("success", "1 conversation erased")
    assert gym.counts()["conversations"] == 0
    job = gym.jobs.seen(RETENTION, "default")
    assert not due(gym, Settings(), job).now and 86_000 < due(gym, Settings(), job).seconds < 86_401


def test_what_is_learnt_by_hand_and_by_itself_count_together(gym: Gym) -> None:
    decide(gym, 30)
    status, out, err = run_cli("optimize", "--json")
    assert (status, json.loads(out)["status"]) == (0, "skipped"), err
    assert gym.jobs.seen(OPTIMIZE, "default").mark == 30
    found = told(gym, OPTIMIZE)
    assert found["last_status"] == "skipped" and found["last_run"] and found["decisions_missing"] == 100
    decide(gym, 99)
    job = gym.jobs.seen(OPTIMIZE, "default")
    assert not due(gym, Settings(), job).now
    decide(gym, 1)
    assert due(gym, Settings(), job).now and due(gym, Settings(), job).mark == 130


def test_the_command_itself_is_started_and_is_one_run(gym: Gym) -> None:
    decide(gym, 100)
    one = Scheduler(gym, Settings(), "default", "test", commands={OPTIMIZE: COMMANDS[OPTIMIZE]})
    one.lease.ask()
    look(one)
    job = gym.jobs.seen(OPTIMIZE, "default")
    assert (job.mark, job.status, job.run_id) == (100, "skipped", None) and "needed" in (job.reason or "")
    (row,) = gym.rows("SELECT run_id, status FROM optimization_runs")
    again = run_cli("optimize", "--json", "--run-id", row["run_id"])
    assert json.loads(again[1])["run_id"] == row["run_id"]
    assert len(gym.rows("SELECT run_id FROM optimization_runs")) == 1, "a run that has ended is not run again"
