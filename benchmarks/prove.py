"""Try what the understudy promises, at length: `make prove`; about an hour.

python benchmarks/prove.py [../shared/data] [--only NAME ...] [--kills 20] [--minutes 10]

The data folder holds star.jsonl, tau_airline.jsonl and tau_goals.jsonl; what is not there is left out with one line.
"""

import argparse
import asyncio
import contextlib
import copy
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from understudy import cli
from understudy.benchmarks import (
    prove_api,
    prove_compare,
    prove_dream,
    prove_embed,
    prove_learn,
    prove_ollama,
    prove_pages,
    prove_retention,
    prove_saver,
    prove_schedule,
)
from understudy.benchmarks.bad_input import cases
from understudy.benchmarks.prove_ollama import Line
from understudy.nodes.brain import Brain
from understudy.replay import Report, replay
from understudy.settings import Settings, current_settings

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
COMMAND = [sys.executable, "-c", "from understudy.cli import main; main()"]
LEAST_TURNS_A_SECOND = 60
Recorded = dict[str, Any]


# What tests and trials share


def rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return all that two replays of the same conversations must agree on, by table.

    Left out: ids of runs, times of writing, latencies.
    """
    gym = sqlite3.connect(path)
    gym.row_factory = sqlite3.Row
    try:
        decisions = _table(gym, "brain_decisions", "conversation_id, turn", "run_id", "created_at", "latency_ms")
        for decision in decisions:
            decision["readings"] = timeless(json.loads(decision["readings"]))
        events = _table(gym, "events", "id")
        for event in events:
            event["processed_at"] = event["processed_at"] is not None
        order = "conversation_id, turn, field, source, event_id"
        return {
            "brain_decisions": decisions,
            "events": events,
            "evidence": _table(gym, "evidence", order, "id", "at"),
            "evidence_sets": _table(gym, "evidence_sets", "fields"),
            "answer_counts": _table(gym, "answer_counts", "module, version, kind"),
        }
    finally:
        gym.close()


def _table(gym: sqlite3.Connection, name: str, order: str, *without: str) -> list[dict[str, Any]]:
    found = gym.execute(f"SELECT * FROM {name} ORDER BY {order}")
    return [{k: v for k, v in dict(row).items() if k not in without} for row in found]


def timeless(readings: dict[str, Any]) -> dict[str, Any]:
    """Return readings without the time they took."""
    return {name: {k: v for k, v in reading.items() if k != "ms"} for name, reading in readings.items()}


def without_checkpoint(path: Path) -> int:
    """Count the decisions that do not find exactly one checkpoint by their thread and run."""
    gym = sqlite3.connect(path)
    try:
        saved = gym.execute("SELECT thread_id, json_extract(CAST(metadata AS TEXT), '$.run_id') FROM checkpoints")
        checkpoints = Counter(saved.fetchall())
        decisions = Counter(gym.execute("SELECT thread_id, run_id FROM brain_decisions").fetchall())
    finally:
        gym.close()
    return sum(count for run, count in decisions.items() if count != 1 or checkpoints[run] != 1)


def changed_after(recording: Recorded, message: int, how: str, dice: random.Random) -> Recorded:
    """Return the recording with all that follows a message cut, changed or told otherwise."""
    other = copy.deepcopy(recording)
    kept, later = other["messages"][: message + 1], other["messages"][message + 1 :]
    kept[-1].pop("labels", None)
    if how == "cut":
        later, other["outcome"] = [], None
    elif how == "changed":
        dice.shuffle(later)
        later = [{"role": m["role"], "text": f"{m['text'][::-1]} cancel, ridiculous"} for m in later]
        other["outcome"] = {"workflow_outcome": dice.choice(["success", "failure"]), "user_satisfaction": 0.5}
    else:
        later = [{"role": "customer", "text": "Forget it, cancel everything!"}] * 3
    other["messages"] = kept + later
    return other


HOW = ("cut", "changed", "replaced")


def write(path: Path, recordings: list[Recorded]) -> Path:
    """Write recordings as lines."""
    path.write_text("".join(json.dumps(recording) + "\n" for recording in recordings), encoding="utf-8")
    return path


async def observe(gym: Path, *files: Path) -> Report:
    """Replay files into a gym."""
    brain = Brain(Settings(rl_gym_db_path=gym))
    try:
        return await replay(list(files), brain)
    finally:
        if brain.gym:
            brain.gym.close()


def run_cli(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the command line in this process; return its exit status, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["understudy", *arguments]),
        patch.object(sys, "excepthook", sys.excepthook),
        patch.dict(os.environ, environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        current_settings.cache_clear()
        try:
            cli.main()
        except SystemExit as done:
            return int(done.code or 0), out.getvalue(), err.getvalue()
    raise AssertionError("main() always exits")


# The trials


def whole_files(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Observe every customer turn, without a fault, at least 60 a second."""
    for name in ("star", "tau_airline", "tau_goals"):
        path = data / f"{name}.jsonl"
        if not path.is_file():
            yield Line(f"replay {name}", True, f"left out: {path} is not there")
            continue
        wanted = sum(m["role"] == "customer" for recording in read(path) for m in recording["messages"])
        gym = folder / f"{name}.db"
        done = subprocess.run([*COMMAND, "replay", str(path), "--json"], env=_env(gym), capture_output=True, text=True)
        found = json.loads(done.stdout) if done.returncode == 0 else {}
        rate = found.get("read_now", 0) / found.get("seconds", 1)
        ok = found.get("decisions") == wanted and found["faults"] == 0 and rate >= LEAST_TURNS_A_SECOND
        yield Line(
            f"replay {name}",
            ok and not without_checkpoint(gym),
            f"{found.get('decisions')} of {wanted} turns, {found.get('faults')} faults, {rate:.0f} turns/s, "
            f"p50 {found.get('turn_ms', {}).get('p50')} ms, {gym.stat().st_size / wanted / 1000:.1f} kB a turn",
        )


def kills(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Kill a replay at random moments, run it again, and compare the tables with those of an undisturbed run."""
    recordings = read(data / "star.jsonl")[:60]
    file, dice = write(folder / "sixty.jsonl", recordings), random.Random(20261123)
    turns = sum(m["role"] == "customer" for recording in recordings for m in recording["messages"])
    asyncio.run(observe(folder / "undisturbed.db", file))
    wanted = rows(folder / "undisturbed.db")
    equal, at = 0, []
    for number in range(options.kills):
        gym = folder / f"killed-{number}.db"
        at.append(kill_at(gym, file, dice.randrange(turns), dice.random() * 0.03))
        again = subprocess.run([*COMMAND, "replay", str(file), "--json"], env=_env(gym), capture_output=True, text=True)
        same = [name for name, table in rows(gym).items() if table == wanted[name]]
        fine = again.returncode == 0 and len(same) == len(wanted) and not without_checkpoint(gym)
        equal += fine
        if not fine:
            yield Line(f"kill -9, {number}", False, f"at {at[-1]} decisions; equal: {same} {again.stderr[-200:]}")
    found = f"{equal} of {options.kills} ended with equal tables; killed at {sorted(at)} of {turns} decisions"
    yield Line("kill -9 and again", equal == options.kills, found)


def kill_at(gym: Path, file: Path, decisions: int, seconds: float) -> int:
    """Start a replay, kill it that many seconds after it has written that many decisions; return how many it had."""
    process = subprocess.Popen([*COMMAND, "replay", str(file)], env=_env(gym), stdout=subprocess.DEVNULL)
    while process.poll() is None and _decisions(gym) < decisions:
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return _decisions(gym)


def _decisions(gym: Path) -> int:
    if not gym.is_file():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{gym}?mode=ro", uri=True, timeout=10)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM brain_decisions").fetchone()[0])
        except sqlite3.OperationalError:  # not made yet
            return 0


def no_look_ahead(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Change everything after a random turn of 100 conversations; no reading up to that turn may change."""
    dice = random.Random(7)
    recordings = dice.sample(read(data / "star.jsonl"), 100)
    others, upto = [], {}
    for number, recording in enumerate(recordings):
        customers = [i for i, m in enumerate(recording["messages"]) if m["role"] == "customer"]
        turn = dice.randrange(len(customers))
        upto[recording["conversation_id"]] = turn
        others.append(changed_after(recording, customers[turn], HOW[number % len(HOW)], dice))
    found = []
    for name, content in (("whole", recordings), ("changed", others)):
        asyncio.run(observe(folder / f"{name}.db", write(folder / f"{name}.jsonl", content)))
        found.append({
            (row["conversation_id"], row["turn"]): row["readings"]
            for row in rows(folder / f"{name}.db")["brain_decisions"]
            if row["turn"] <= upto[row["conversation_id"]]
        })  # fmt: skip
    differ = [key for key in found[0] if found[0][key] != found[1].get(key)]
    ok = not differ and len(found[0]) > 100
    yield Line("no look-ahead", ok, f"{len(found[0])} turns compared, {len(differ)} differ")


def bad_input(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Give the command line every bad input in a gym of its own."""
    made, good = cases(), 0
    for case in made:
        path, gym = case.write(folder), folder / f"{case.name}.db"
        status, out, err = run_cli("replay", str(path), "--json", RL_GYM_DB_PATH=str(gym))
        errors = err.splitlines()
        if case.says is None:
            fine = status == 0 and not errors
        else:
            said = f"understudy: {path}:{case.at}: "
            fine = status == 1 and len(errors) == 1 and errors[0].startswith(said) and case.says in errors[0]
        kept = {row["conversation_id"] for row in rows(gym)["brain_decisions"]} if gym.is_file() else set()
        fine = fine and (case.alone or {"before", "after"} <= kept) and json.loads(out)["faults"] == 0
        good += fine
        if not fine:
            yield Line(f"bad input {case.name}", False, f"status {status}, kept {sorted(kept)}, said {err[-300:]!r}")
    yield Line("bad input", good == len(made), f"{good} of {len(made)} files: one line each, good rows kept")


def long_conversation(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Observe a conversation of 5,000 turns; the last turns may cost no more than the early ones."""
    dice, words = random.Random(3), "wash van price Friday cancel thanks when where polish again morning".split()
    messages = [
        {"role": ("customer", "agent")[i % 2], "text": " ".join(dice.choices(words, k=12))} for i in range(10_000)
    ]
    file = write(folder / "long.jsonl", [{"conversation_id": "long", "messages": messages}])
    gym = folder / "long.db"
    report = asyncio.run(observe(gym, file))
    early, late = median(report.turn_ms[100:1100]), median(report.turn_ms[-1000:])
    ok = len(report.turn_ms) == 5000 and late < 1.3 * early and not report.lines.errors
    size = gym.stat().st_size / 5000 / 1000
    yield Line("5,000 turns", ok, f"p50 {early:.1f} ms early, {late:.1f} ms late; {size:.1f} kB a turn")


def rules(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Learn rules from 300 STAR conversations and try the student on the other 300."""
    from understudy.benchmarks import star_rules  # the tests, which use parts of this file, need none of it

    recordings = star_rules.load(data / "star.jsonl")
    learnt, held = recordings[: star_rules.HALF], recordings[star_rules.HALF :]
    forms = star_rules.schemas(recordings)
    tables = {
        "rules": star_rules.measure(held, forms, star_rules.instructions(learnt, forms)),
        "bare": star_rules.measure(held, forms, star_rules.BARE),
    }
    for name, least in (("intent, labelled turns", 0.80), ("conflict AUC", 0.75)):
        found = ", ".join(f"{kind} {table[name]:.3f}" for kind, table in tables.items())
        yield Line(f"STAR {name}", tables["rules"][name] >= least, f"{found}; at least {least} with rules")


TRIALS: dict[str, Callable[[Path, Path, argparse.Namespace], Iterator[Line]]] = {
    "files": whole_files,
    "kills": kills,
    "look-ahead": no_look_ahead,
    "bad-input": bad_input,
    "long": long_conversation,
    "rules": rules,
    **prove_ollama.TRIALS,
    **prove_learn.TRIALS,
    **prove_compare.TRIALS,
    **prove_dream.TRIALS,
    **prove_schedule.TRIALS,
    **prove_retention.TRIALS,
    **prove_saver.TRIALS,
    **prove_embed.TRIALS,
    **prove_pages.TRIALS,
    **prove_api.TRIALS,
}
NEED_STAR = (
    "kills",
    "look-ahead",
    "rules",
    "http",
    "faults",
    *prove_learn.TRIALS,
    *prove_compare.TRIALS,
    *prove_dream.TRIALS,
)


def read(path: Path) -> list[Recorded]:
    """Read recordings."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _env(gym: Path) -> dict[str, str]:
    return {**os.environ, "RL_GYM_DB_PATH": str(gym)}


def run(data: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Run the trials one after the other, each in a folder of its own."""
    for name in options.only or TRIALS:
        if name in NEED_STAR and not (data / "star.jsonl").is_file():
            yield Line(name, True, f"left out: {data / 'star.jsonl'} is not there")
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="understudy-prove-") as folder:
            yield from TRIALS[name](data, Path(folder), options)
        print(f"  {name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Print one table; exit status 1 when a trial fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=DATA, help="the folder of real conversations")
    parser.add_argument("--only", nargs="+", choices=TRIALS, help="trials to run")
    parser.add_argument("--kills", type=int, default=20, help="how many replays, or hosts and workers, are killed")
    parser.add_argument(
        "--minutes",
        type=float,
        default=10,
        help="how long the scheduler is tried, and, below 5, the API, and, below 1, a host",
    )
    options = parser.parse_args()
    lines = []
    for line in run(options.data.resolve(), options):
        print(f"{'ok  ' if line.ok else 'FAIL'}  {line.trial:<27}  {line.found}", flush=True)
        lines.append(line)
    sys.exit(not all(line.ok for line in lines))


if __name__ == "__main__":
    main()
