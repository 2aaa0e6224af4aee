"""The API under /brain, in this process: what it does, and what it says to bad input of every kind."""

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

import pytest
from starlette.testclient import TestClient

from understudy.checkpoints.versioning import ModuleVersioning
from understudy.intake import UnderstudyError
from understudy.nodes.brain import Brain, own_brain
from understudy.nodes.modules import PROGRAMS
from understudy.settings import Settings
from understudy.tests.gyms import Observed

app = pytest.importorskip("understudy.server.app").app

from understudy.server import jobs, shapes, telling  # noqa: E402  (an extra)
from understudy.server.bodies import MAX_BODY, MAX_LEVELS  # noqa: E402

SLOW = """
import pathlib, sys, time
while pathlib.Path("wait").exists():
    time.sleep(0.02)
"""


@pytest.fixture
def page(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Whoever calls; the server itself has not been started."""
    monkeypatch.setattr(jobs, "STARTED", jobs.Started())
    yield TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5))
    Path("wait").unlink(missing_ok=True)
    jobs.STARTED.stop()
    telling.HOST.close()
    with suppress(UnderstudyError):
        if own_brain.cache_info().currsize and (gym := own_brain().gym):
            gym.close()


@pytest.fixture
def waits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs do nothing but wait until the file `wait` is gone."""
    Path("wait").touch()
    command = (sys.executable, "-ISc", SLOW)
    monkeypatch.setattr(jobs, "COMMANDS", {"optimize": command, "dream": command})


def problem(answer: Any, status: int, *words: str) -> str:
    """Check that an answer is a problem, and return what it says."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    said = answer.json()
    assert said.keys() == {"type", "title", "status", "detail"} and said["status"] == status
    for word in words:
        assert word in said["detail"], said
    assert "\n" not in said["detail"] and len(said["detail"]) < 1200
    return str(said["detail"])


def asked(page: TestClient, path: str, **query: Any) -> Any:
    answer = page.get(f"/brain/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(page: TestClient, run_id: str, *statuses: str) -> dict[str, Any]:
    """Wait until a run is at that."""
    for _ in range(3000):
        run: dict[str, Any] = asked(page, f"runs/{run_id}")
        if run["status"] in statuses:
            return run
        time.sleep(0.02)
    raise AssertionError(run)


# What happens in a conversation


def test_a_conversation_is_told(page: TestClient) -> None:
    written = {"written": True, "repeated": False, "reason": None}
    message = {
        "conversation_id": "c1",
        "text": "Can you take my van?",
        "message_id": "m1",
        "customer": {"name": "Ines"},
    }
    first = page.post("/brain/observe", json=message)
    assert (first.status_code, first.json()) == (202, written)
    assert page.post("/brain/observe", json=message).json() == {**written, "repeated": True}
    reply = {"conversation_id": "c1", "text": "At what time?", "action": "ask_time", "at": "2026-11-23T10:00:00+01:00"}
    assert page.post("/brain/replied", json=reply).json() == written
    ended = {"conversation_id": "c1", "workflow_outcome": "success", "user_satisfaction": 1}
    assert page.post("/brain/outcome", json=ended).json() == written
    with sqlite3.connect("brain_gym.db") as gym:
        rows = gym.execute("SELECT kind, text, action, at, payload, profile FROM events ORDER BY seq").fetchall()
    assert [row[0] for row in rows] == ["customer_message", "agent_message", "outcome"]
    assert rows[0][1] == "Can you take my van?" and "Ines" in rows[0][4] and rows[0][5] == "default"
    assert rows[1][1:4] == ("At what time?", "ask_time", "2026-11-23T09:00:00Z")
    assert json.loads(rows[2][4]) == {"workflow_outcome": "success", "user_satisfaction": 1}
    assert asked(page, "status")["backlog"] == 1


def test_what_is_not_watched_is_said_not_to_be_written(page: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSERVE_SHARE", "0")
    answer = page.post("/brain/observe", json={"conversation_id": "c1", "text": "hello"})
    assert answer.json() == {"written": False, "repeated": False, "reason": "OBSERVE_SHARE=0"}


def test_what_is_lost_is_told_to_the_caller(page: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.embed.WAIT_SECONDS", 0.0)
    monkeypatch.setattr("understudy.door.COUNT_SECONDS", 0.0)
    monkeypatch.setenv("INBOX_MAX", "2")
    assert page.post("/brain/observe", json={"conversation_id": "c1", "text": "hello"}).status_code == 202
    with sqlite3.connect("brain_gym.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        problem(page.post("/brain/observe", json={"conversation_id": "c2", "text": "hello"}), 503, "another program")
        other.execute("ROLLBACK")
    assert page.post("/brain/observe", json={"conversation_id": "c2", "text": "hello"}).status_code == 202
    problem(page.post("/brain/observe", json={"conversation_id": "c3", "text": "hello"}), 503, "INBOX_MAX=2")


def test_labels_are_evidence_at_once_and_all_or_nothing(page: TestClient, observed: Observed) -> None:
    observed(2).gym.close()  # type: ignore[union-attr]
    with sqlite3.connect("brain_gym.db") as gym:
        ids = [row[0] for row in gym.execute("SELECT DISTINCT conversation_id FROM events ORDER BY 1")]

    def held() -> list[tuple[Any, ...]]:
        with sqlite3.connect("brain_gym.db") as gym:
            return gym.execute(
                "SELECT conversation_id, field, value FROM evidence WHERE event_id IN"
                " (SELECT id FROM events WHERE kind = 'label' AND payload LIKE '%kim%') ORDER BY 1, 2"
            ).fetchall()

    def label(conversation: str, turn: int = 0, **fields: Any) -> dict[str, Any]:
        return {"conversation_id": conversation, "turn": turn, "fields": fields, "author": "kim"}

    good = [label(ids[0], intent="booking", conflict_type="none"), label(ids[1], quality_score=0.5)]

    def post(body: Any) -> Any:
        return page.post("/brain/labels", json=body)

    problem(post([*good, label(ids[0], intent="flying")]), 422, "2: labels.intent: Input should be")
    problem(post([*good, label(ids[0], turn=99, intent="booking")]), 404, "2: turn: conversation", "has no turn 99")
    problem(post([*good, label("nobody", intent="booking")]), 404, "no conversation 'nobody'")
    problem(post([*good, label(ids[0], mood="good")]), 422, "2: labels.mood: no module has such a field")
    problem(post([good[0]] * 101), 422, "body.labels: List should have at most 100 items")
    problem(post([]), 422, "body.labels: List should have at least 1 item")
    problem(post({**good[0], "turn": -1}), 422, "body.label.turn: Input should be greater")
    problem(post([good[0], {**good[0], "mood": 1}]), 422, "body.labels.1.mood: Extra inputs are not permitted")
    assert held() == []
    told = post(good).json()
    assert told["labelled"] == 2 and told["decisions"] > 2 and told["faults"] == 0
    assert held() == [
        (ids[0], "conflict_type", '"none"'),
        (ids[0], "intent", '"booking"'),
        (ids[1], "quality_score", "0.5"),
    ]
    assert post(label(ids[0], turn=1.0, intent="booking")).json()["labelled"] == 1
    assert len(held()) == 4


BAD_MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({}, "body.conversation_id: is missing"),
    ({"conversation_id": "c1"}, "body.text: is missing"),
    ({"conversation_id": 7, "text": "x"}, "body.conversation_id: Input should be a valid string"),
    ({"conversation_id": "", "text": "x"}, "body.conversation_id: String should have at least 1"),
    ({"conversation_id": "c" * 201, "text": "x"}, "body.conversation_id: String should have at most 200"),
    ({"conversation_id": "c1", "text": None}, "body.text"),
    ({"conversation_id": "c1", "text": "x", "profile": "../star"}, "body.profile: String should match"),
    ({"conversation_id": "c1", "text": "x", "message_id": "m" * 1001}, "body.message_id"),
    ({"conversation_id": "c1", "text": "x", "at": "yesterday"}, "body.at: must be a time such as"),
    ({"conversation_id": "c1", "text": "x", "at": 5}, "body.at"),
    ({"conversation_id": "c1", "text": "x", "state": [1]}, "body.state: must be a JSON object"),
    ({"conversation_id": "c1", "text": "x", "state": {"n": 2**70}}, "state: a whole number beyond 64 bits"),
    ({"conversation_id": "c1", "text": "x", "state": {"t": "x" * 100_001}}, "state: 100,0"),
    ({"conversation_id": "c1", "text": "x", "txet": "y"}, "body.txet: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("message", "says"), BAD_MESSAGES)
def test_a_message_of_the_wrong_form_is_refused(page: TestClient, message: dict[str, Any], says: str) -> None:
    problem(page.post("/brain/observe", json=message), 422, says)
    assert asked(page, "status")["conversations"] == 0


def test_an_id_that_the_other_side_s_message_has_stands_against_it(page: TestClient) -> None:
    said = {"conversation_id": "c1", "text": "hello", "message_id": "m1"}
    for route, status in (("observe", 202), ("replied", 409), ("observe", 202)):
        answer = page.post(f"/brain/{route}", json=said)
        assert answer.status_code == status
        if status == 409:
            problem(answer, 409, "message_id: a message of the customer has it")
    assert answer.json()["repeated"] is True


def test_a_conversation_or_profile_that_is_not_there_is_said_so(page: TestClient) -> None:
    told = {"conversation_id": "nobody", "workflow_outcome": "success"}
    problem(page.post("/brain/outcome", json=told), 404, "no message of the conversation")
    told = {"conversation_id": "nobody"}
    problem(page.post("/brain/outcome", json=told), 422, "give workflow_outcome, user_satisfaction, or both")
    told = {"conversation_id": "c1", "text": "x", "profile": "nowhere"}
    problem(page.post("/brain/observe", json=told), 404, "no profile 'nowhere'; there are")


HEADERS = {"content-type": "application/json"}
BODIES: list[tuple[bytes, int, str]] = [
    (b"", 422, "body: is missing"),
    (b"{", 422, "body: is no JSON: Expecting property name"),
    (b"null", 422, "body"),
    (b"[" * 300_000, 422, f"more than {MAX_LEVELS} levels deep"),
    (b'{"state": ' + b'{"a":' * 70 + b"1" + b"}" * 71, 422, "levels deep"),
    (b'"' + b'\\"' * 400_000, 422, "no JSON"),
    (b'{"conversation_id": "\xff", "text": "x"}', 400, "parsing the body"),
    (json.dumps({"conversation_id": "c1", "text": "x"}).encode("utf-16"), 422, "must be JSON in UTF-8"),
    (b'{"conversation_id": "c1", "text": "x", "state": {"n": ' + b"9" * 5000 + b"}}", 400, "parsing the body"),
    (b'{"conversation_id": "c1", "text": "x", "state": {"n": NaN}}', 422, "state: not plain JSON"),
    (b'{"conversation_id": "\\ud800", "text": "x"}', 422, "body.conversation_id"),
    (b'{"conversation_id": "c1", "\\ud800": 1, "text": "x"}', 422, "body: Input should be"),
    (b'{"conversation_id": "c1", "text": "' + b"x" * MAX_BODY + b'"}', 413, "at most 1,048,576 bytes"),
]


@pytest.mark.parametrize(("body", "status", "says"), BODIES, ids=range(len(BODIES)))
def test_a_body_that_cannot_be_read_is_refused(page: TestClient, body: bytes, status: int, says: str) -> None:
    problem(page.post("/brain/observe", content=body, headers=HEADERS), status, says)


def test_a_body_that_does_not_say_its_length_is_bounded_as_well(page: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(MAX_BODY // 10_000 + 20):
            sent += 10_000
            yield b"x" * 10_000

    problem(page.post("/brain/observe", content=endless(), headers=HEADERS), 413, "send less at a time")
    whole = {"conversation_id": "c1", "text": "x" * 120_000}
    parts = (json.dumps(whole).encode()[i : i + 5000] for i in range(0, 200_000, 5000))
    assert page.post("/brain/observe", content=parts, headers=HEADERS).status_code == 202


def test_what_is_no_json_by_its_type_is_refused(page: TestClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = page.post("/brain/observe", content=b'{"conversation_id": "c1"}', headers={"content-type": kind})
        problem(answer, 422, "its content-type application/json")


# What there is


def test_routes_say_what_they_are_and_are_not(page: TestClient) -> None:
    problem(page.get("/brain/nowhere"), 404)
    problem(page.get("/brain/ab/a%0Ab"), 404, "no A/B test")
    problem(page.get("/brain/"), 404)
    answer = page.delete("/brain/ab")
    problem(answer, 405, "this route takes GET, POST")
    assert answer.headers["allow"] == "GET, POST"
    problem(page.get("/brain/status?verbose=1"), 422, "query.verbose: there is no such parameter")
    for query in ("limit=0", "limit=101", "limit=x", "before="):
        problem(page.get(f"/brain/runs?{query}"), 422, "query.")
    problem(page.get("/brain/runs?before=nobody"), 404, "no run 'nobody'")
    problem(page.get("/brain/runs/nobody"), 404, "no run 'nobody'")


def test_settings_are_shown_without_secrets(page: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAIN_API_TOKEN", "open-sesame-open-sesame")
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://kim:hush@localhost:11434")
    answer = page.get("/brain/settings", headers={"authorization": "Bearer open-sesame-open-sesame"})
    assert answer.status_code == 200 and answer.json().keys() == set(Settings.model_fields)
    assert "sesame" not in answer.text and "hush" not in answer.text and "***@localhost" in answer.text


OFF: list[tuple[dict[str, str], str, str]] = [
    ({"RL_GYM_ENABLED": "false"}, "status", "RL_GYM_ENABLED=false: there is no gym; set it to true"),
    ({"RL_GYM_ENABLED": "false"}, "runs", "RL_GYM_ENABLED=false"),
    ({"RL_GYM_ENABLED": "false"}, "ab", "RL_GYM_ENABLED=false"),
    ({"RL_GYM_DB_PATH": "."}, "status", "gym .: "),
    ({"RL_GYM_DB_PATH": "broken.db"}, "status", "gym broken.db: file is not a database"),
    ({"BRAIN_PROFILE": "nowhere"}, "versions", "nowhere"),
]


@pytest.mark.parametrize(("environment", "path", "says"), OFF)
def test_what_is_switched_off_or_broken_is_said_so(
    page: TestClient, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], path: str, says: str
) -> None:
    Path("broken.db").write_bytes(b"no database at all" * 100)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    problem(page.get(f"/brain/{path}"), 503, says)
    problem(page.post("/brain/observe", json={"conversation_id": "c1", "text": "x"}), 503, says)


def test_nothing_is_observed_while_the_brain_is_off(page: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAIN_ENABLED", "false")
    told = {"conversation_id": "c1", "text": "x"}
    problem(page.post("/brain/observe", json=told), 503, "BRAIN_ENABLED=false: nothing is observed; set it to true")
    assert asked(page, "status")["conversations"] == 0


def test_a_defect_is_told_without_a_word_of_a_customer(page: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with patch.object(telling.HOST, "app", side_effect=KeyError("my secret word")):
        answer = page.post("/brain/observe", json={"conversation_id": "c1", "text": "my secret word"})
    said = problem(answer, 500, "a defect of understudy, please report it: KeyError in ")
    (line,) = [one for one in caplog.messages if "defect" in one]
    assert "secret" not in said + line + caplog.text


# Runs


def test_a_run_is_begun_in_a_process_of_its_own_one_at_a_time(page: TestClient, waits: None) -> None:
    begun = page.post("/brain/train", json={"modules": ["intent"]})
    assert begun.status_code == 202 and begun.json()["kind"] == "optimize" and begun.json()["resumed"] is False
    run_id = begun.json()["run_id"]
    assert begun.headers["location"] == f"/brain/runs/{run_id}"
    run = asked(page, f"runs/{run_id}")
    assert (run["status"], run["ended_at"], run["report"]) == ("running", None, None)
    assert asked(page, "runs")["runs"][0]["run_id"] == run_id
    for route in ("train", "dream"):
        says = f"optimize of profile default runs since {run['started_at']}, run {run_id}"
        problem(page.post(f"/brain/{route}", json={}), 409, says)
    Path("wait").unlink()
    assert until(page, run_id, "success")["ended_at"]
    assert page.post("/brain/dream", json={"count": 5}).status_code == 202


def test_a_run_that_another_process_began_is_named(page: TestClient, brain: Brain) -> None:
    assert brain.gym is not None
    job = brain.gym.jobs.seen("dream", "default")
    brain.gym.jobs.take("scheduler", "me", {"pid": 4711, "host": "here", "command": "understudy serve"}, 60)
    brain.gym.jobs.begin("me", job, 0, "run-1")
    with jobs.place(brain.gym.path):
        problem(page.post("/brain/train", json={}), 409, "dream of profile default", "understudy serve, process 4711")
    with jobs_lock(brain):
        problem(page.post("/brain/train", json={}), 409, "another program is optimizing for profile default")


def jobs_lock(brain: Brain) -> Any:
    from understudy.optimize import alone

    return alone(brain.settings.optimized_modules_dir / "default", "optimizing")


def test_a_run_that_cannot_begin_says_why(
    page: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "understudy")
    died = "import sys; sys.exit('understudy: it is Sunday')"
    monkeypatch.setattr(jobs, "COMMANDS", {"dream": (sys.executable, "-ISc", died)})
    run = until(page, page.post("/brain/dream", json={}).json()["run_id"], "error")
    assert run["reason"] == "it is Sunday" and run["report"] is None
    died = "raise ValueError('my secret word')"
    monkeypatch.setattr(jobs, "COMMANDS", {"dream": (sys.executable, "-ISc", died)})
    run = until(page, page.post("/brain/dream", json={}).json()["run_id"], "error")
    assert run["reason"].startswith("ValueError") and "secret" not in caplog.text + json.dumps(run)


def test_a_server_that_ends_ends_its_run(page: TestClient, waits: None) -> None:
    run_id = page.post("/brain/train", json={}).json()["run_id"]
    with page:
        pass
    run = asked(page, f"runs/{run_id}")
    assert run["status"] == "interrupted" and run["reason"] == "killed by signal 15"


def test_learning_dreaming_and_a_person_s_word(
    page: TestClient, observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real thing once: an optimisation that waits for a person, and is told yes; then a cycle with too little."""
    monkeypatch.setenv("PUBLISH_APPROVAL", "manual")
    monkeypatch.setenv("DREAM_MIN_CONVERSATIONS", "5000")
    monkeypatch.setenv("GEPA_BREADTH", "1")
    monkeypatch.setenv("GEPA_DEPTH", "1")
    observed().gym.close()  # type: ignore[union-attr]
    run_id = page.post("/brain/train", json={"modules": ["goals"]}).json()["run_id"]
    run = until(page, run_id, "waiting", "success", "error", "interrupted")
    assert (run["status"], run["waits_for"]) == ("waiting", ["goals"]), run
    assert asked(page, "runs")["runs"][0]["status"] == "waiting"
    problem(page.post("/brain/train", json={}), 409, "waits for a person's word on goals")
    approve = f"/brain/runs/{run_id}/approve"
    problem(page.post(approve, json={"intent": True}), 409, "does not wait for intent; it waits for goals")
    problem(page.post(approve, json={"nothing": True}), 422)
    problem(page.post(approve, json={"goals": "yes"}), 422, "body.goals: Input should be a valid boolean")
    problem(page.post(approve, json={}), 422)
    problem(page.post("/brain/runs/nobody/approve", json={"goals": True}), 404)
    said = page.post(approve, json={"goals": True})
    assert said.status_code == 202 and said.json()["resumed"] is True and said.json()["run_id"] == run_id
    run = until(page, run_id, "success", "error", "waiting", "interrupted")
    assert run["status"] == "success" and run["report"]["module_results"]["goals"]["status"] == "published"
    assert [one["version"] for one in asked(page, "versions/goals")["versions"] if one["latest"]] == ["v1.0"]
    problem(page.post(approve, json={"goals": True}), 409, "it is success")
    cycle = until(page, page.post("/brain/dream", json={}).json()["run_id"], "skipped")
    assert "are needed" in cycle["reason"] and cycle["report"]["dreams"] == 0
    assert Path("brain_gym.db-job").read_bytes() == b"", "the scheduler would take it for its own"
    first = asked(page, "runs", limit=1)
    assert [one["kind"] for one in first["runs"]] == ["dream"] and first["older"] == cycle["run_id"]
    second = asked(page, "runs", limit=1, before=first["older"])
    assert [one["run_id"] for one in second["runs"]] == [run_id] and second["older"] is None


# Versions and tests


@pytest.fixture
def learnt(observed: Observed, home: Path) -> Callable[[str], str]:
    """A gym, and what saves one more version of a module."""
    brain = observed(2)
    assert brain.gym is not None
    brain.gym.close()
    versioning = ModuleVersioning(home / "optimized_modules", "default")

    def learn(module: str, status: str = "published") -> str:
        program = PROGRAMS[module].program(brain.profile(None))
        versioning.save_module(module, program, "v0.0", {})
        return versioning.save_next(module, program, {"status": status, "metrics": {"improvement": 0.1}})

    return learn


def test_versions_are_listed_shown_compared_and_rolled_back(page: TestClient, learnt: Callable[[str], str]) -> None:
    assert learnt("intent") == "v1.0"
    rows = asked(page, "versions/intent")["versions"]
    assert [(row["version"], row["latest"], row["improvement"]) for row in rows] == [
        ("v0.0", False, None),
        ("v1.0", True, 0.1),
    ]
    assert {row["module"] for row in asked(page, "versions")["versions"]} == set(PROGRAMS)
    assert "import dspy" in asked(page, "versions/intent/latest")["python"]
    found = asked(page, "compare/intent/v0.0/v1.0")
    assert found["same_fields"] is True and found["metrics"]["improvement"]["b"] == 0.1
    back = page.post("/brain/rollback", json={"module": "intent", "version": "v0.0"}).json()
    assert back == {"module": "intent", "profile": "default", "before": "v1.0", "version": "v0.0"}
    assert asked(page, "versions/intent")["versions"][1]["status"] == "rolled_back"
    problem(page.post("/brain/rollback", json={"module": "intent", "version": "v7.0"}), 404, "no version v7.0")
    problem(page.post("/brain/rollback", json={"module": "mood", "version": "v1.0"}), 422, "body.module")
    problem(page.post("/brain/rollback", json={"module": "intent", "version": "1"}), 422, "body.version")
    problem(page.get("/brain/versions/mood"), 422, "path.module")
    problem(page.get("/brain/versions/intent/v9.0"), 404, "no version v9.0")
    problem(page.get("/brain/compare/goals/v0.0/v1.0"), 404, "v0.0 of 'goals'")
    problem(page.get("/brain/versions", params={"profile": "nowhere"}), 404, "no profile 'nowhere'")
    path = next(Path("optimized_modules/default/intent").glob("v1.0_*[0-9].json"))
    path.write_text("{}")
    problem(page.post("/brain/rollback", json={"module": "intent", "version": "v1.0"}), 409, "v1.0")


def test_a_test_is_begun_looked_at_and_stopped(page: TestClient, learnt: Callable[[str], str]) -> None:
    learnt("intent")
    wanted = {"module": "intent", "a": "v0.0", "b": "v1.0", "name": "my test"}
    begun = page.post("/brain/ab", json=wanted)
    assert (begun.status_code, begun.headers["location"]) == (201, "/brain/ab/my%20test")
    problem(page.post("/brain/ab", json={**wanted, "name": "other"}), 409, "wait for it, or end it")
    problem(page.post("/brain/ab", json={**wanted, "b": "v9.0"}), 404, "no version v9.0")
    problem(page.post("/brain/ab", json={**wanted, "name": "a/b"}), 422, "body.name")
    found = asked(page, "ab/my%20test")
    assert found == begun.json() and (found["sample_size"], found["origin"]) == (0, "hand")
    assert asked(page, "ab/intent") == found
    said = page.post("/brain/ab/intent/declare", json={"min_sample_size": 1}).json()
    assert (said["winner"], said["reason"]) == (None, "0 conversations; 1 are needed")
    assert page.post("/brain/ab/intent/declare").status_code == 200
    assert page.post("/brain/ab/my%20test/stop").json()["reason"] == "stopped by hand"
    problem(page.post("/brain/ab/my%20test/stop"), 409, "has ended already")
    problem(page.post("/brain/ab/nobody/stop"), 404, "no A/B test 'nobody'")
    problem(page.post("/brain/ab/intent/declare", json={"min_sample_size": 0}), 422, "body.min_sample_size")
    assert page.post("/brain/ab", json={"module": "goals", "b": "v0.0"}).status_code == 201
    first = asked(page, "ab", limit=1)
    assert [one["module"] for one in first["tests"]] == ["goals"] and first["older"] == first["tests"][0]["test"]
    second = asked(page, "ab", before=first["older"])
    assert [one["test"] for one in second["tests"]] == ["my test"] and second["older"] is None
    problem(page.get("/brain/ab", params={"before": "nobody"}), 404, "before: no A/B test 'nobody'")
    with sqlite3.connect("brain_gym.db") as gym:
        gym.execute("UPDATE ab_tests SET betting = '{}' WHERE name = 'my test'")
    (damaged,) = asked(page, "ab")["damaged"]
    assert damaged["test"] == "my test" and "start it anew" in damaged["reason"]
    problem(page.get("/brain/ab/my%20test"), 409, "damaged")


# The document


def test_the_document_says_what_may_come_of_every_route(page: TestClient) -> None:
    document = asked(page, "openapi.json")
    assert document["servers"] == [{"url": "/brain"}]
    assert set(get_args(shapes.Module)) == set(PROGRAMS)
    names = []
    for path in document["paths"].values():
        for method, operation in path.items():
            names.append(operation["operationId"])
            assert operation["summary"] and operation["description"] and operation["tags"], operation
            codes = set(operation["responses"])
            assert {"422", "500", "503"} <= codes and (method == "get" or {"400", "413"} <= codes), (names[-1], codes)
            for code, told in operation["responses"].items():
                (kind,) = told["content"]
                assert kind == ("application/problem+json" if code >= "4" else "application/json")
    assert len(names) == len(set(names))
    assert {"observe", "replied", "outcome", "labels", "train", "dream", "approve", "rollback"} <= set(names)
    assert not Path("brain_gym.db").exists()
