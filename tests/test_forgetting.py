"""What `understudy forget` leaves of a conversation: nothing, in any file; and of all others everything."""

import asyncio
import hashlib
import json
import shutil
import sqlite3
import threading
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from understudy.benchmarks.prove import run_cli, write
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.saver import open_checkpointer
from understudy.demo import BUNDLED
from understudy.dreaming import dream
from understudy.events import Event
from understudy.forgetting import conversations_of, forget
from understudy.graph.shadow import create_shadow_workflow
from understudy.nodes.ab_life import begin, statistics
from understudy.nodes.brain import Brain, WithBrain
from understudy.nodes.modules import PROGRAMS
from understudy.nodes.run import report_page
from understudy.nodes.sides import side_of, sketch
from understudy.observing import run_turn, thread_of
from understudy.optimize import alone, optimize
from understudy.replay import replay, tell
from understudy.settings import Settings

PLANTED = [f"zq{number:02d}plantedword" for number in range(50)]
VICTIM = f"victim-{PLANTED[0]}"
OTHER_THREAD = "6f1c1d5e-0000-4000-8000-000000000001"
LEFT = {"decisions": 0, "checkpoints": 0, "events": 0, "evidence": 0, "suggestions": 0, "ab_results": 0, "dreams": 0}


def victim() -> dict[str, Any]:
    """A conversation that stands on the training side, with planted words wherever a host can put some."""
    said = [f"{PLANTED[i]} please book my car {PLANTED[i + 1]} for friday, {PLANTED[i + 2]}" for i in range(1, 31, 3)]
    for wanted in range(100):
        messages: list[dict[str, Any]] = []
        for number, text in enumerate(said):
            more = {"labels": {"intent": "booking", "conflict_type": "bargaining"}} if number < 3 else {}
            messages.append({"role": "customer", "text": f"{text} {'so' * wanted}", **more})
            messages.append({"role": "agent", "text": f"Sure, {PLANTED[31 + number]} it is!", "action": "confirm"})
        lines = [{"role": m["role"], "text": m["text"]} for m in messages]
        if side_of(_cluster(lines)) == "train":
            break
    return {
        "conversation_id": VICTIM,
        "customer": {"name": PLANTED[41], "id": PLANTED[42], "nested": {"email": f"{PLANTED[43]}@example.com"}},
        "messages": messages,
        "outcome": {"workflow_outcome": "failure", "user_satisfaction": 0.1},
    }


def _cluster(lines: list[Any]) -> str:
    return hashlib.sha256(sketch(lines)).hexdigest()[:16]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder in which a conversation was observed, tested, dreamt of and learnt from, and what names it."""
    folder = tmp_path_factory.mktemp("story")
    named = {"RL_GYM_DB_PATH": str(folder / "gym.db"), "OPTIMIZED_MODULES_DIR": str(folder / "modules"),
             "GEPA_BREADTH": "1", "GEPA_DEPTH": "2", "DREAM_MIN_CONVERSATIONS": "20"}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in named.items():
            patch.setenv(name, value)
        asyncio.run(_live(Brain(Settings()), folder))
    yield folder, named


async def _live(brain: Brain, folder: Path) -> None:
    gym = brain.gym
    assert gym is not None
    talks = [json.loads(line) for line in BUNDLED.read_text(encoding="utf-8").splitlines()[:70]]
    await replay([write(folder / "others.jsonl", talks)], brain)
    brain.versioning("default").save_module("conflict", PROGRAMS["conflict"].program(brain.profile(None)), "v1.0")
    begin(brain, "default", "conflict", "v0.0", "v1.0", name="side by side")
    await replay([write(folder / "victim.jsonl", [victim()])], brain)
    await tell(brain, VICTIM, label={"turn": 3, "fields": {"intent": "booking"}, "author": PLANTED[44]})
    async with open_checkpointer(gym.path) as saver:  # a caller with a thread of his own, and a state
        graph = create_shadow_workflow(checkpointer=saver)
        await graph.ainvoke(
            {"conversation_id": VICTIM, "messages": [("user", PLANTED[45])], "state": {PLANTED[46]: PLANTED[47]}},
            {"configurable": {"thread_id": OTHER_THREAD}},
            context=WithBrain(brain=brain),
        )
    await optimize(brain, modules=["conflict"])
    await dream(brain, count=10)
    newest = gym.dreams.newest("default", 1)[0]
    told = {**newest, "dream_id": "of the victim", "parents": [VICTIM], "conversation": {"messages": [PLANTED[48]]}}
    lent = {**newest, "dream_id": "lent", "lenders": [*newest["lenders"], VICTIM]}
    gym.dreams.keep([told, lent])
    killed = folder / "modules" / "default" / ".runs" / "intent"
    killed.mkdir(parents=True, exist_ok=True)
    (killed / "gepa_state.bin").write_text(PLANTED[49])
    report = gym.runs.find()
    assert report is not None
    said = victim()["messages"][0]["text"]
    report["module_results"]["conflict"]["reason"] = f"quotes: {said}"
    gym.runs.save(report)
    report_page(folder / "modules", report).write_text(f"<p>{said}</p>")
    gym.close()
    for name in ("others.jsonl", "victim.jsonl"):
        (folder / name).unlink()


def finds(folder: Path) -> set[str]:
    """The planted words in any file, also in what is compressed in the gym."""
    found: set[str] = set()
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found.update(word for word in PLANTED if word.encode() in content)
            for start in _all(content, b"\x78\x01"):  # where zlib's streams begin
                try:
                    plain = zlib.decompressobj().decompress(content[start : start + 60_000])
                except zlib.error:
                    continue
                found.update(word for word in PLANTED if word.encode() in plain)
    return found


def _all(content: bytes, what: bytes) -> Iterator[int]:
    place = content.find(what)
    while place >= 0:
        yield place
        place = content.find(what, place + 1)


def of_others(gym: Path) -> dict[str, list[Any]]:
    """All rows of the gym that are of no conversation, or of another one, and of no run."""
    db = sqlite3.connect(gym)
    try:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        kept: dict[str, list[Any]] = {}
        turns = {row[0] for row in db.execute("SELECT thread_id FROM brain_decisions")}
        for table in sorted(
            set(tables) - {"optimization_runs", "answer_counts", "evidence_sets", "conversation_bands"}
        ):
            rows = db.execute(f"SELECT * FROM {table}").fetchall()
            mine = (VICTIM, thread_of(VICTIM), OTHER_THREAD)
            if table in ("checkpoints", "writes"):
                rows = [row for row in rows if row[0] in turns]
            kept[table] = [row for row in rows if not any(str(one) in str(row) for one in mine)]
        return kept
    finally:
        db.close()


@pytest.fixture
def copied(story: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder, named = story
    for name in ("gym.db", "modules"):
        (shutil.copytree if (folder / name).is_dir() else shutil.copy)(folder / name, home / name)
    for name, value in named.items():
        monkeypatch.setenv(name, value.replace(str(folder), str(home)))
    return home


def test_nothing_is_left_in_any_file_and_everything_of_others(copied: Path) -> None:
    assert finds(copied) == set(PLANTED)
    before = of_others(copied / "gym.db")
    status, out, err = run_cli("forget", VICTIM, "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert finds(copied) == set()
    after = of_others(copied / "gym.db")
    entered = [row for row in after.pop("ab_conversations") if row[1].startswith("erased-")]
    answers = [row for row in after.pop("ab_results") if row[1].startswith("erased-")]
    assert len(answers) == found["ab_results"] and all(row[4:8] == (None,) * 4 for row in answers)
    for name in ("ab_conversations", "ab_results", "erased_rows"):
        before.pop(name)
    after.pop("erased_rows")
    assert len(entered) == 1 and entered[0][4] is not None, "its two numbers stay: the verdict rests on them"
    assert after == before
    assert all(found[name] > 0 for name in LEFT) and found["dreams"] >= 2
    assert [found[name] for name in ("conversations", "run_folders", "reports")] == [1, 1, 1]
    assert {(one["module"], one["version"]) for one in found["versions"]} >= {("conflict", "v1.1")}
    assert run_cli("doctor")[0] == 0
    brain = Brain(Settings())
    assert statistics(brain, "side by side")["sample_size"] == 1
    brain.gym.close()
    status, out, _ = run_cli("forget", VICTIM, "--json")  # as after one that was killed before it could tell
    again = json.loads(out)
    assert (status, again["unknown"], again["versions"]) == (1, [VICTIM], found["versions"])
    assert run_cli("forget", "nobody")[2].endswith("nothing was erased: check its id\n")


def test_by_customer_and_without_writing_the_file_anew(copied: Path) -> None:
    status, _, err = run_cli("forget", "--customer", "nobody")
    assert status == 1 and "no conversation in" in err and "has the id or customer_id 'nobody'" in err
    assert run_cli("forget", "--customer", f"name={PLANTED[42]}")[0] == 1
    status, out, _ = run_cli("forget", "--customer", PLANTED[42], "--no-rewrite")
    assert status == 0 and "conversations  1" in out and "understudy retire conflict v1.1 --profile default" in out
    gym = Gym(copied / "gym.db")
    assert gym.count("SELECT count(*) FROM events WHERE conversation_id = ?", VICTIM) == 0
    gym.close()
    status, out, _ = run_cli("forget", "--rewrite", "--json")
    assert status == 0 and json.loads(out)["bytes"] <= json.loads(out)["bytes_before"]
    assert finds(copied) == set()


def test_a_retired_version_is_gone_and_its_test_has_ended(copied: Path) -> None:
    status, out, _ = run_cli("retire", "conflict", "v1.0", "--json")
    found = json.loads(out)
    assert status == 0 and found["tests"] == ["side by side"] and found["version"] != "v1.0"
    assert not list((copied / "modules" / "default" / "conflict").glob("v1.0_*"))
    assert run_cli("retire", "conflict", "v1.0")[0] == 1
    status, _, err = run_cli("retire", "conflict", "v0.0")
    assert status == 1 and "v0.0 of 'conflict' is in the code and cannot be retired" in err


def test_a_version_in_use_that_is_retired_leaves_its_place(brain: Brain) -> None:
    versioning = brain.versioning("default")
    program = PROGRAMS["intent"].program(brain.profile(None))
    for version in ("v1.0", "v1.1"):
        versioning.save_module("intent", program, version)
    versioning.save_module("intent", program, "v1.2", {"status": "candidate"})
    for left in ("v1.0", "v0.0"):
        assert json.loads(run_cli("retire", "intent", "latest", "--json")[1])["version"] == left
    assert versioning.list_versions("intent") == ["v0.0", "v1.2"]
    assert run_cli("retire", "intent", "v1.2")[0] == 0
    versioning.save_module("intent", program, "v1.0")
    assert versioning.save_next("intent", program) == "v1.3", "a number that was given is not given again"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give CONVERSATION..., --customer, --expired, or --rewrite alone"),
        (("c1", "--expired"), "--expired takes neither"),
        (("--expired", "--rewrite"), "does not write the file anew"),
    ],
)
def test_what_is_to_be_erased_has_to_be_said(home: Path, arguments: tuple[str, ...], said: str) -> None:
    status, out, err = run_cli("forget", *arguments)
    assert (status, out) == (2, "") and said in err


def test_nothing_is_erased_while_somebody_learns(copied: Path) -> None:
    with alone(copied / "modules" / "default", "optimizing"):
        status, _, err = run_cli("forget", VICTIM)
    assert status == 1 and "another process is optimizing" in err
    assert VICTIM.encode() in (copied / "gym.db").read_bytes()


@pytest.mark.parametrize("begins_anew", [False, True])
async def test_a_turn_that_is_being_read_does_not_come_back(
    brain: Brain, monkeypatch: pytest.MonkeyPatch, begins_anew: bool
) -> None:
    gym = brain.gym
    assert gym is not None
    gym.append("c1", [Event(kind="customer_message", text=PLANTED[0], message_id="m1")], "default")
    complete = type(brain.student.engine).complete
    found: dict[str, Any] = {}

    def in_the_middle(self: Any, request: Any) -> Any:
        if not found:
            other = threading.Thread(target=lambda: found.update(forget(brain, ["c1"])))
            other.start()
            other.join()
            if begins_anew:
                gym.append("c1", [Event(kind="customer_message", text="hello", message_id="m2")], "default")
        return complete(self, request)

    monkeypatch.setattr(type(brain.student.engine), "complete", in_the_middle)
    async with open_checkpointer(gym.path) as saver:
        graph = create_shadow_workflow(checkpointer=saver)
        await run_turn(graph, brain, "c1", upto=0)
        await run_turn(graph, brain, "c1")
        state = str((await graph.aget_state({"configurable": {"thread_id": thread_of("c1")}})).values)
    assert found["events"] == 1 and gym.inbox() == []
    assert [one.user_message for one in gym.decisions()] == (["hello"] if begins_anew else [])
    tables = ("evidence", "conversation_sides", "writes", *(() if begins_anew else ("checkpoints",)))
    assert {name: gym.count(f"SELECT count(*) FROM {name}") for name in tables} == dict.fromkeys(tables, 0)
    assert PLANTED[0] not in state and ("hello" in state) == begins_anew


def test_what_is_erased_gives_no_number_away(brain: Brain) -> None:
    gym = brain.gym
    assert gym is not None
    for name in ("c1", "c2"):
        gym.append(name, [Event(kind="customer_message", text="hello")], "default")
        gym.learn(name, [Event(kind="label", payload={"turn": 0, "fields": {"intent": "booking"}})], "default")
    newest = gym.material.newest_ids()
    forget(brain, ["c2"])
    gym.learn("c1", [Event(kind="label", payload={"turn": 0, "fields": {"intent": "pricing"}})], "default")
    newer = gym.material.newest_ids()
    assert newer["evidence"] > newest["evidence"] and newer["events"] > newest["events"]


def test_a_customer_is_found_by_what_he_is_called(brain: Brain) -> None:
    gym = brain.gym
    assert gym is not None
    for name, customer in {
        "one": {"id": 1},
        "true": {"id": True},
        "code": {"id": "NDcxMQ=="},
        "deep": {"a": {"id": 1}},
    }.items():
        gym.append(name, [Event(kind="customer_message", text="hello", payload={"customer": customer})], "default")
    assert conversations_of(brain, "1") == ["one"] and conversations_of(brain, "NDcxMQ==") == ["code"]
    status, _, err = run_cli("forget", "\udcff")
    assert status == 2 and "no valid text" in err


def test_a_long_conversation_goes_in_pieces_and_one_that_goes_on_stays(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.checkpoints.erasure.PIECE", 3)
    gym = brain.gym
    assert gym is not None
    messages = [{"role": "customer", "text": f"hello {turn}", "labels": {"intent": "booking"}} for turn in range(10)]
    asyncio.run(replay([write(Path("long.jsonl"), [{"conversation_id": "long", "messages": messages}])], brain))
    kept = gym.erasure.conversation("long", thread_of("long"), silent_since=aged(1))
    assert set(kept.values()) == {0} and gym.counts()["decisions"] == 10
    found = gym.erasure.conversation("long", thread_of("long"))
    assert (found["decisions"], found["checkpoints"], found["evidence"]) == (10, 10, 10)
    assert gym.counts() == {"decisions": 0, "conversations": 0, "backlog": 0}


def aged(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def test_retention_erases_what_is_older_and_keeps_the_rest(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brain = Brain(Settings())
    gym = brain.gym
    assert gym is not None
    ages = {"old": [40, 31], "young": [40, 29], "from the future": [-400], "untold": [None], "waits": [None]}
    for name, days in ages.items():
        events = [
            Event(kind="customer_message", text="hello", at=None if day is None else aged(day)) for day in days
        ]  # fmt: skip
        gym.append(name, events, "default")
        if name != "waits":
            gym.record(None, name, gym.pending(name))
            gym.record(None, name, gym.pending(name))
    gym.append("old", [Event(kind="label", payload={"turn": 0, "fields": {}}, at=aged(0))], "default")
    monkeypatch.setenv("RL_GYM_RETENTION_DAYS", "30")
    status, out, _ = run_cli("forget", "--expired", "--json")
    found = json.loads(out)
    assert (status, found["status"], found["conversations"]) == (0, "success", 1)
    assert {row["conversation_id"] for row in gym.rows("SELECT conversation_id FROM events")} == set(ages) - {"old"}
    monkeypatch.setenv("RL_GYM_RETENTION_DAYS", "0")
    status, _, err = run_cli("forget", "--expired")
    assert status == 1 and "RL_GYM_RETENTION_DAYS=0: everything is kept" in err
    gym.close()


def test_a_reader_of_an_earlier_state_is_told_of(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.checkpoints.erasure.SECONDS_FOR_READERS", 0.3)
    reader = sqlite3.connect(copied / "gym.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    status, _, err = run_cli("forget", VICTIM)
    assert status == 1 and "another program reads it" in err and "understudy forget --rewrite" in err
    reader.close()
    assert run_cli("forget", "--rewrite")[0] == 0
    assert finds(copied) == set()
