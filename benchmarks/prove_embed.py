"""Try `Understudy` at length: what a call costs the host beside a working shadow, and what a killed process loses."""

import argparse
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles

from understudy.benchmarks.prove_ollama import Line, Trial
from understudy.checkpoints.gym import Gym
from understudy.embed import Understudy
from understudy.settings import Settings

SERVE = [sys.executable, "-c", "from understudy.cli import main; main()", "serve"]
MESSAGES_A_SECOND = 500
CALLERS = 8
MESSAGES = 10
"""Of a conversation."""

SECONDS = 60.0
BUDGET_MS = 2.0
TURNS_A_SECOND = 20
"""At least so fast the backlog must drain."""

HOST = """
import sys, time
from understudy import Understudy
run, told = int(sys.argv[1]), open(sys.argv[2], "a", buffering=1)
app = Understudy(worker=True)
for n in range(1_000_000):
    if app.observe(f"c{n % 7}", f"Can you take my van on Friday? {n}", message_id=f"{run}-{n}"):
        told.write(f"{run}-{n}\\n")
    time.sleep(0.02)
"""


def beside_serve(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Call 500 times a second while `understudy serve` reads what is written."""
    yield from _calls(folder / "brain_gym.db", options, own_worker=False)


def beside_a_worker(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Do the same with a worker in the process that calls; its figure has no budget: they share one interpreter."""
    yield from _calls(folder / "brain_gym.db", options, own_worker=True)


def _calls(path: Path, options: argparse.Namespace, own_worker: bool) -> Iterator[Line]:
    settings = Settings(rl_gym_db_path=path)
    seconds = min(SECONDS, 60 * options.minutes)
    with ExitStack() as stack:
        if not own_worker:
            process = _serve(path)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        app = stack.enter_context(Understudy(settings, worker=own_worker))
        gym = Gym(path)
        stack.callback(gym.close)
        while gym.count("SELECT count(*) FROM lease WHERE name = 'inbox'") == 0:
            time.sleep(0.05)
        ms = _call(app, seconds)
        backlog, began = gym.counts()["backlog"], time.monotonic()
        while gym.inbox() and time.monotonic() < began + 60 + backlog / TURNS_A_SECOND:
            time.sleep(0.5)
        drained, counts = time.monotonic() - began, gym.counts()
        wrong = _out_of_order(gym)
        lost = len(ms) - counts["decisions"]
    cuts = quantiles(ms, n=100)
    name = "observe(), own worker" if own_worker else "observe(), serve beside it"
    found = (
        f"{len(ms)} calls in {seconds:.0f} s: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms, max {max(ms):.0f} ms;"
        f" {lost} lost {app.losses}, {wrong} out of order; a backlog of {backlog} drained in {drained:.0f} s"
    )
    fast = own_worker or cuts[98] < BUDGET_MS
    yield Line(name, fast and not lost and not wrong and not app.losses and not counts["backlog"], found)


def _call(app: Understudy, seconds: float) -> list[float]:
    """Call from several threads, each call at its moment; return how long each took, in milliseconds."""
    ms: list[float] = []
    began = time.perf_counter() + 0.1

    def caller(number: int) -> None:
        for n in range(int(seconds * MESSAGES_A_SECOND / CALLERS)):
            due = began + (n + number / CALLERS) * CALLERS / MESSAGES_A_SECOND
            while (left := due - time.perf_counter()) > 0:
                time.sleep(left)
            conversation = f"{number}-{n // MESSAGES // 20 * 20 + n % 20}"  # twenty of them at a time
            started = time.perf_counter()
            app.observe(conversation, f"Can you take my van on Friday at {n}?", message_id=f"0-{n}")
            ms.append((time.perf_counter() - started) * 1000)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ms


def _serve(gym: Path) -> "subprocess.Popen[bytes]":
    env = {**os.environ, "RL_GYM_DB_PATH": str(gym), "OPTIMIZED_MODULES_DIR": str(gym.with_name("modules"))}
    return subprocess.Popen(SERVE, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _out_of_order(gym: Gym) -> int:
    """Count the decisions whose message came before that of the turn before, and the turns that are missing."""
    last: dict[str, tuple[int, list[int]]] = {}
    wrong = 0
    for row in gym.rows("SELECT conversation_id, turn, message_id FROM brain_decisions ORDER BY conversation_id, turn"):
        before = last.get(row["conversation_id"], (-1, [-1]))
        number = [int(part) for part in row["message_id"].split("-")]
        wrong += row["turn"] != before[0] + 1 or number <= before[1]
        last[row["conversation_id"]] = row["turn"], number
    return wrong


def killed(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Kill the host or `serve` at random moments; what is acknowledged must get its decision, once and in order."""
    path, told, dice = folder / "brain_gym.db", folder / "told", random.Random(12)
    os.environ["LEASE_SECONDS"] = "1"
    try:
        yield from _kills(path, told, dice, options.kills)
    finally:
        del os.environ["LEASE_SECONDS"]


def _kills(path: Path, told: Path, dice: random.Random, kills: int) -> Iterator[Line]:
    gym, run = Gym(path), 0
    env = {**os.environ, "RL_GYM_DB_PATH": str(path)}

    def host() -> "subprocess.Popen[bytes]":
        nonlocal run
        run += 1
        return subprocess.Popen([sys.executable, "-c", HOST, str(run), str(told)], env=env, stderr=subprocess.DEVNULL)

    processes, hit = {"host": host(), "serve": _serve(path)}, {"host": 0, "serve": 0}
    for _ in range(kills):
        time.sleep(dice.uniform(2, 6))
        name = dice.choice(["host", "serve"])
        processes[name].kill()
        processes[name].wait()
        hit[name] += 1
        processes[name] = host() if name == "host" else _serve(path)
    processes["host"].kill()
    processes["host"].wait()
    began = time.monotonic()
    while gym.inbox() and time.monotonic() < began + 600:
        time.sleep(0.2)
    processes["serve"].terminate()
    processes["serve"].wait()
    acknowledged = told.read_text(encoding="utf-8").split()
    decided = [row["message_id"] for row in gym.rows("SELECT message_id FROM brain_decisions")]
    lost, twice, wrong = len(set(acknowledged) - set(decided)), len(decided) - len(set(decided)), _out_of_order(gym)
    sound = gym.check()
    gym.close()
    found = (
        f"host killed {hit['host']} times, serve {hit['serve']}: {len(acknowledged)} acknowledged, {lost} without a"
        f" decision, {twice} twice, {wrong} out of order; the file: {sound}"
    )
    yield Line("kill -9 of host and worker", bool(acknowledged) and not (lost or twice or wrong), found)


TRIALS: dict[str, Trial] = {"embed": beside_serve, "embed-worker": beside_a_worker, "embed-kills": killed}
