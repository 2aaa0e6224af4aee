"""A trial of the scheduler: several processes on one gym, whose owners are killed; part of `make prove`."""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from understudy.benchmarks.prove_ollama import Line, Trial
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.jobs import INBOX, OPTIMIZE, SCHEDULER
from understudy.events import Event

INTERVAL = 20
LEASE_SECONDS = 3.0
DREAM_SECONDS = 15.0
POSTS_A_SECOND = 4
PAUSE_SECONDS = (8.0, 16.0)
"""Between two kills."""

DREAMER = """
import json, os, sys, time
def note(what):
    with open("dreams", "a") as file:
        file.write(json.dumps([what, sys.argv[1], time.monotonic()]) + "\\n")
note("begin")
time.sleep(2)
note("end")
print(json.dumps({"status": "success"}))
"""

# Looks come oftener than in earnest, and dreaming is a stand-in that notes when it was begun and ended.
FAST = f"""
import sys
from understudy.graph import schedule
schedule.LOOK_SECONDS = 1.0
schedule.COMMANDS["dream"] = (sys.executable, "-ISc", {DREAMER!r}, schedule.RUN_ID)
"""
SERVE = f"{FAST}\nfrom understudy.cli import main\nmain()\n"
APP = f"{FAST}\nfrom understudy.server.app import app\n"


class Company:
    """Two `understudy serve` and a `langgraph dev` on one gym."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gym = folder, Gym(folder / "brain_gym.db")
        self.env = {
            **os.environ,
            "RL_GYM_DB_PATH": str(self.gym.path),
            "RL_GYM_OPTIMIZE_INTERVAL": str(INTERVAL),
            "OPTIMIZED_MODULES_DIR": str(folder / "modules"),
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "DREAM_INTERVAL_HOURS": str(DREAM_SECONDS / 3600),
        }
        (folder / "serve.py").write_text(SERVE, encoding="utf-8")
        (folder / "app.py").write_text(APP, encoding="utf-8")
        graphs = {name: f"understudy.graph.{name}:graph" for name in ("shadow", "optimization")}
        served = {"dependencies": ["."], "graphs": graphs, "http": {"app": "./app.py:app"}}
        (folder / "langgraph.json").write_text(json.dumps(served), encoding="utf-8")
        self.log = (folder / "log").open("wb")
        self.processes = {name: self.start(name) for name in ("one", "two", "dev")}

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """Start a process."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        server = str(Path(sys.executable).parent / "langgraph")
        dev = [server, "dev", "--no-browser", "--no-reload", "--port", port]
        command = dev if name == "dev" else [sys.executable, "-P", "serve.py", "serve"]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def kill(self, lease: str) -> float | None:
        """Kill who holds a lease; return how long it took until another one held it."""
        held = self.gym.jobs.holder(lease)
        name = next((n for n, p in self.processes.items() if held and p.pid == held.what["pid"]), None)
        if held is None or name is None:
            return None
        self.processes[name].kill()
        killed = time.monotonic()
        self.processes[name].wait()
        while (other := self.gym.jobs.holder(lease)) is None or other.owner == held.owner:
            time.sleep(0.005)
        seconds = time.monotonic() - killed
        self.processes[name] = self.start(name)
        return seconds

    def end(self) -> list[float]:
        """Tell all to end; return how long each took."""
        took = []
        for process in self.processes.values():
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait()
            took.append(time.monotonic() - began)
        self.gym.close()
        return took


class Arrivals(threading.Thread):
    """Posts customers' messages, and notes every run that the scheduler begins."""

    def __init__(self, gym: Path) -> None:
        super().__init__(daemon=True)
        self._gym = Gym(gym)
        self.posting, self.watching = True, True
        self.posted = 0
        self.marks: dict[str, int] = {}

    def run(self) -> None:
        """Post and look until told to stop."""
        due = time.monotonic()
        while self.watching:
            job = self._gym.jobs.find(OPTIMIZE, "default")
            if job and job.run_id:
                self.marks[job.run_id] = job.mark
            if self.posting and time.monotonic() >= due:
                due += 1 / POSTS_A_SECOND
                text = f"Can you take my van on Friday? {self.posted}"
                message = Event(kind="customer_message", text=text, message_id=str(self.posted))
                self._gym.append(f"c{self.posted // 4}", [message], "default")
                self.posted += 1
            time.sleep(0.02)
        self._gym.close()


def owners_killed(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Let decisions arrive at two `serve` and a `langgraph dev`, and kill the owner of a lease now and then."""
    company, dice = Company(folder), random.Random(9)
    arrivals, took = Arrivals(company.gym.path), []
    jobs, kills = company.gym.jobs, 0
    while not (jobs.holder(SCHEDULER) and jobs.holder(INBOX)):
        time.sleep(0.1)
    arrivals.start()
    began = time.monotonic()
    while time.monotonic() < began + 60 * options.minutes:
        time.sleep(dice.uniform(*PAUSE_SECONDS))
        seconds = company.kill(dice.choice([SCHEDULER, SCHEDULER, INBOX]))
        if seconds is not None:
            kills += 1
            took.append(seconds)
    arrivals.posting = False
    while not _at_rest(company.gym, arrivals.posted):
        time.sleep(0.5)
    arrivals.watching = False
    arrivals.join()
    yield from _learning(company.gym, arrivals)
    yield from _dreaming(folder)
    most = max(took, default=0.0)
    ok = kills > 0 and most <= LEASE_SECONDS + 0.1
    yield Line(
        "take-over", ok, f"{kills} owners killed; another after at most {most:.2f} s, a lease is {LEASE_SECONDS} s"
    )
    ended = company.end()
    yield Line("SIGTERM", max(ended) < 10, f"all ended, the slowest after {max(ended):.1f} s")


def _at_rest(gym: Gym, posted: int) -> bool:
    job = gym.jobs.find(OPTIMIZE, "default")
    come = gym.jobs.decisions("default")
    return come == posted and job is not None and job.run_id is None and come - job.mark < INTERVAL


def _learning(gym: Gym, arrivals: Arrivals) -> Iterator[Line]:
    rows = gym.rows("SELECT run_id, started_at, ended_at, status FROM optimization_runs ORDER BY started_at")
    come, marks = gym.jobs.decisions("default"), sorted(arrivals.marks.values())
    twice = len(marks) - len(set(marks)) + sum(b["started_at"] < (a["ended_at"] or "~") for a, b in pairwise(rows))
    strange = {row["run_id"] for row in rows} ^ arrivals.marks.keys()
    done = [row for row in rows if row["ended_at"] is not None]
    last = marks[-1] if marks else 0
    ok = not twice and not strange and len(done) == len(rows) > 0 and last == come // INTERVAL * INTERVAL
    found = f"{come} decisions of {arrivals.posted} messages, every {INTERVAL} a run: {len(done)} of {len(rows)} ended,"
    found += f" {twice} twice or at once, {len(strange)} that nobody began; the last was due at {last}"
    yield Line("learning", ok, found)


def _dreaming(folder: Path) -> Iterator[Line]:
    path = folder / "dreams"
    notes: list[Any] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    begun = [(run, at) for what, run, at in notes if what == "begin"]
    ended = [run for what, run, _ in notes if what == "end"]
    gaps = [b[1] - a[1] for a, b in pairwise(begun)]
    overlaps = sum(a[0] == b[0] == "begin" for a, b in pairwise(notes))
    twice = len(ended) - len(set(ended)) + sum(gap < DREAM_SECONDS - 1 for gap in gaps) + overlaps
    most = DREAM_SECONDS + LEASE_SECONDS + 12  # another job's run, and a start on a busy machine
    lost = sum(gap > most for gap in gaps) + len({run for run, _ in begun} - set(ended))
    apart = f"{min(gaps, default=0):.1f} to {max(gaps, default=0):.1f} s apart"
    found = f"{len(begun)} dreams, due every {DREAM_SECONDS:.0f} s, {apart}; {twice} twice or at once, {lost} lost"
    yield Line("dreaming", not twice and not lost and len(begun) > 1, found)


TRIALS: dict[str, Trial] = {"schedule": owners_killed}
