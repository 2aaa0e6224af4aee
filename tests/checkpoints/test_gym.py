"""The gym: one file, one log, and what follows from it."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from understudy.checkpoints.file import GymError
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.schema import migrations
from understudy.events import Event


@pytest.fixture
def gym(home: Path) -> Gym:
    return Gym(home / "brain_gym.db")


def customer(text: str, id: str | None = None) -> Event:
    return Event(kind="customer_message", text=text, message_id=id or text)


def agent(text: str, action: str | None = None) -> Event:
    return Event(kind="agent_message", text=text, action=action, message_id=text)


def test_turns_are_numbered_when_they_arrive_and_for_ever(gym: Gym) -> None:
    gym.append("c", [agent("welcome"), customer("a"), customer("b")], "default")
    gym.append("c", [customer("a"), agent("reply"), customer("c")], "star")
    events = [(e.text, e.seq, e.turn) for e in gym.messages("c", 99, 99)]
    assert events == [("welcome", 0, None), ("a", 1, 0), ("b", 2, 1), ("reply", 3, 1), ("c", 4, 2)]
    assert gym.profile_of("c") == "default"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=30))
def test_numbers_depend_only_on_what_is_new(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[bool, int]]
) -> None:
    gym = Gym(tmp_path_factory.mktemp("gym") / "g.db")
    for is_customer, id in said:
        gym.append("c", [customer(f"c{id}") if is_customer else agent(f"a{id}")], "default")
    seen = list(dict.fromkeys(f"{'c' if is_customer else 'a'}{id}" for is_customer, id in said))
    events = gym.messages("c", 1 << 40, 100)
    assert [e.text for e in events] == seen and [e.seq for e in events] == list(range(len(seen)))
    turns = [e.turn for e in events if e.kind == "customer_message"]
    assert turns == list(range(len(turns)))
    gym.close()


def test_one_turn_waits_at_a_time_with_what_follows_it(gym: Gym) -> None:
    gym.append("c", [customer("a"), agent("b"), customer("c"), customer("d"), Event(kind="outcome")], "default")
    assert gym.turns_waiting("c") == [1, 2, 4]
    for upto, texts in [(None, ["a", "b"]), (1, ["a", "b"]), (0, ["a"])]:
        assert [e.text for e in gym.pending("c", upto)] == texts
    gym.record(None, "c", gym.pending("c"))
    assert [e.text for e in gym.pending("c")] == ["c"] and gym.inbox() == ["c"]


def test_a_correction_wins_and_the_history_stays(gym: Gym) -> None:
    gym.append("c", [customer("a")], "default")
    for value in ("booking", "complaint"):
        gym.append("c", [Event(kind="label", payload={"turn": 0, "fields": {"intent": value}})], "default")
    gym.append("c", [agent("sure", "check")], "default")
    gym.append(
        "c", [Event(kind="label", payload={"turn": 0, "fields": {"next_step": "close"}, "author": "Ada"})], "default"
    )
    for _ in range(2):
        gym.record(None, "c", gym.pending("c"))
    assert gym.truth("c", 0) == {"proposed_response": "sure", "next_step": "close", "intent": "complaint"}
    kept = [(e["field"], e["value"], e["source"], e["author"]) for e in gym.evidence("c", 0)]
    assert ("intent", "booking", "human", None) in kept and ("next_step", "close", "human", "Ada") in kept
    assert ("next_step", "check", "hindsight", None) in kept and len(kept) == 5


@pytest.mark.parametrize(
    ("outcome", "value"),
    [({"workflow_outcome": "success"}, 1.0), ({"workflow_outcome": "abandoned"}, 0.0),
     ({"user_satisfaction": 0.3}, 0.3), ({"workflow_outcome": "success", "user_satisfaction": 0.2}, 0.2), ({}, None)],
)  # fmt: skip
def test_an_outcome_speaks_of_satisfaction(gym: Gym, outcome: dict[str, object], value: float | None) -> None:
    gym.append("c", [customer("a"), Event(kind="outcome", payload=outcome)], "default")
    gym.record(None, "c", gym.pending("c"))
    assert gym.truth("c", 0).get("user_satisfaction") == value


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.booleans()), max_size=40))
def test_the_counts_by_field_are_those_of_the_rows(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str, bool]]
) -> None:
    gym = Gym(tmp_path_factory.mktemp("gym") / "g.db")
    db = sqlite3.connect(gym.path, isolation_level=None)
    for number, (turn, field, add) in enumerate(steps):
        if add:
            db.execute(
                "INSERT INTO evidence VALUES (NULL, ?, 'c', ?, ?, '1', 'human', NULL, '')", (number, turn, field)
            )
        else:
            db.execute(
                "DELETE FROM evidence WHERE id IN (SELECT max(id) FROM evidence WHERE turn=? AND field=?)",
                (turn, field),
            )
    for fields in ("a", "b", "ab", "abc"):
        marks = ",".join("?" * len(fields))
        (rows,) = db.execute(
            f"SELECT count(DISTINCT turn) FROM evidence WHERE field IN ({marks})", [*fields]
        ).fetchone()
        assert gym.count_evidence(fields) == rows
    db.close()
    gym.close()


def test_the_file_is_private_and_in_wal(gym: Gym) -> None:
    gym.append("c", [customer("a")], "default")
    for path in gym.path.parent.glob("brain_gym.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert sqlite3.connect(gym.path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_many_open_a_fresh_file_at_once(home: Path) -> None:
    start = threading.Barrier(16)

    def open_it(_: int) -> None:
        start.wait()
        Gym(home / "fresh.db").close()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(open_it, range(16)))


def test_an_older_gym_is_migrated_and_a_newer_one_refused(home: Path) -> None:
    path = home / "old.db"
    db = Database(path)
    migrations.apply(db, stop_before="m003_evidence")
    db.execute("INSERT INTO events (conversation_id, seq, kind, profile) VALUES ('c', 0, 'outcome', 'default')")
    db.conn.commit()
    db.close()
    gym = Gym(path)
    assert gym.inbox() == ["c"] and gym.count_evidence(["intent"]) == 0
    gym.close()
    with sqlite3.connect(path) as raw:
        raw.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('understudy', 'm999', '')"
        )
    with pytest.raises(GymError, match="newer understudy.*m999.*upgrade"):
        Gym(path)


@pytest.mark.parametrize(
    ("make", "advice"),
    [(lambda p: p.mkdir(), "check RL_GYM_DB_PATH"), (lambda p: p.write_text("no database " * 500), "move it away")],
)
def test_what_is_no_gym_is_told_in_one_line(home: Path, make: object, advice: str) -> None:
    path = home / "x.db"
    make(path)
    with pytest.raises(GymError, match=f"{path}.*{advice}") as told:
        Gym(path)
    assert "\n" not in str(told.value)


def test_a_full_disk_keeps_what_was_written(gym: Gym) -> None:
    gym.append("c", [customer("a")], "default")
    pages = gym.connection.execute("PRAGMA page_count").fetchone()[0]
    gym.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(GymError, match="full.*make room"):
        for number in range(100):
            gym.append(f"c{number}", [customer("x" * 5000)], "default")
    assert [e.text for e in gym.pending("c")] == ["a"]


@given(
    st.lists(st.sampled_from("cal"), min_size=30, max_size=40),
    st.lists(st.integers(0, 45), min_size=1, max_size=5),
    st.sampled_from([1, 2, 7, 10, 15, 40]),
)
def test_many_histories_are_those_of_each_turn(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], befores: list[int], limit: int
) -> None:
    gym = Gym(tmp_path_factory.mktemp("gym") / "g.db")
    label = Event(kind="label", payload={"turn": 0, "fields": {}})
    said = {"c": customer, "a": agent}
    gym.append("c", [said[k](f"{k}{i}") if k in said else label for i, k in enumerate(kinds)], "default")
    wanted = {before: gym.history("c", before, limit) for before in befores}
    assert gym.material.histories("c", befores, limit) == wanted
    gym.close()


def test_every_column_is_documented_where_it_is_made(gym: Gym) -> None:
    db = Database(gym.path)
    for name in ("events", "brain_decisions", "evidence", "conversation_sides", "conversation_bands", "losses"):
        lines = db.table(name).schema.splitlines()[1:-1]
        undocumented = [
            line.strip() for line in lines if "--" not in line and "PRIMARY KEY" not in line and ")" != line.strip()[0]
        ]
        assert undocumented == []


def test_the_schema_is_the_reviewed_one(gym: Gym) -> None:
    db = Database(gym.path)
    tables = ("events", "evidence", "conversation_sides", "conversation_bands", "losses")
    columns = {table: [c.name for c in db.table(table).columns] for table in tables}
    assert columns == {
        "conversation_sides": "id conversation_id cluster side sketch at".split(),
        "conversation_bands": "band side_id".split(),
        "losses": "reason calls first_at last_at".split(),
        "events": (
            "id conversation_id seq kind turn message_id role text action payload profile at processed_at"
        ).split(),
        "evidence": "id event_id conversation_id turn field value source author at".split(),
    }
    assert [c.name for c in db.table("brain_decisions").columns] == (
        "decision_id conversation_id turn message_id profile created_at user_message history_upto state_snapshot"
        " conflict_type conflict_confidence intent next_step intent_confidence quality_score"
        " user_satisfaction_predicted proposed_response tone response_confidence readings faults versions models"
        " tokens_in tokens_out latency_ms engine brain_mode thread_id run_id response_sent action_taken user_response"
        " workflow_outcome user_satisfaction"
    ).split()
    assert "decisions_full" in db.view_names()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_file_that_cannot_be_written_says_so(home: Path) -> None:
    path = home / "ro.db"
    Gym(path).close()
    path.chmod(0o400)
    with pytest.raises(GymError, match="cannot be written"):
        Gym(path)


def test_a_second_opening_and_another_process_lose_nothing(home: Path) -> None:
    """To close any descriptor of the file takes SQLite's locks from the process; then others drop the log in use."""
    path = Path("brain_gym.db")
    gym = Gym(path)
    count = "SELECT count(*) FROM events"
    other = f"import sqlite3; c = sqlite3.connect('{path}'); print(c.execute('{count}').fetchone()[0]); c.close()"
    for number in range(5):
        gym.append("c1", [Event(kind="customer_message", text="hello", message_id=f"m{number}")], "default")
        Gym(path).close()
        seen = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=True).stdout
        assert int(seen) == number + 1
    gym.close()
    assert sqlite3.connect(path).execute(count).fetchone()[0] == 5


def test_nothing_is_written_to_a_file_that_has_gone(gym: Gym, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite would write on, and all of it would go down with the process."""
    gym.append("c", [customer("a")], "default")
    monkeypatch.chdir("/")
    os.rename(gym.path, f"{gym.path}.moved")
    with pytest.raises(GymError, match="removed, moved or replaced while it was in use; start again"):
        gym.append("c", [customer("b")], "default")
    Gym(gym.path).close()
    with pytest.raises(GymError, match="brain_gym.db: the file was removed, moved or replaced"):
        gym.append("c", [customer("b")], "default")
    gym.close()
