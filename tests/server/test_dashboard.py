"""What the pages of the dashboard find to show."""

import asyncio
import importlib.util
import json
import runpy
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from understudy.checkpoints.file import GymError
from understudy.checkpoints.jobs import DREAM, OPTIMIZE
from understudy.intake import InputError
from understudy.nodes.ab_life import begin, stop
from understudy.nodes.brain import Brain
from understudy.optimize import alone, roll_back
from understudy.readiness import Readiness
from understudy.report import diff
from understudy.settings import Settings
from understudy.tests.nodes.test_ab_test import MISLED, save

pytest.importorskip("nicegui")

from understudy import server  # noqa: E402
from understudy.dreaming import dream  # noqa: E402
from understudy.server.app import app  # noqa: E402
from understudy.server.pages.ab import ENDED, trials_of, verdict_of  # noqa: E402
from understudy.server.pages.compared import compared  # noqa: E402
from understudy.server.pages.dreams import dreams_of  # noqa: E402
from understudy.server.pages.jobs import SHOWN, work_of  # noqa: E402
from understudy.server.pages.overview import sentence  # noqa: E402
from understudy.server.pages.settings import settings_by_subject  # noqa: E402
from understudy.server.pages.versions import shelf_of, status_of  # noqa: E402


def test_a_sentence_says_what_is_missing_where() -> None:
    at: Any = {"version": "v0.0", "sources": {}, "ab": None, "course": (), "ready_at": 0.8, "turns": 90}
    good: Any = {**at, "agreement": 0.9, "lower": 0.85, "conversations": 90, "fault_rate": 0.0, "missing": ()}
    wrong = {
        "conflict": {"lower": 0.7},
        "intent": {"conversations": 29},
        "quality": {"fault_rate": 0.01},
        "response": {"lower": 0.1},
    }
    modules = [Readiness(name, **{**good, "missing": ("it",), **changed}) for name, changed in wrong.items()]
    assert sentence([*modules, Readiness("goals", **good)]) == (
        "Not ready yet: too little agreement (conflict), too few closed conversations with evidence (intent), too many"
        " turns without an answer (quality), replies unlike those that were sent (response); ready: goals."
    )
    assert sentence(modules[:1]) == "Not ready yet: too little agreement (all modules)."
    assert sentence([Readiness("goals", **good)]) == "Ready: every module can be trusted."


def test_versions_say_which_one_is_in_use_and_since_when(brain: Brain) -> None:
    save(brain, "conflict", MISLED)
    save(brain, "conflict", MISLED + " ", "candidate")
    shelf = shelf_of(brain, None)
    conflict = next(module for module in shelf.modules if module.name == "conflict")
    assert (shelf.profile, shelf.profiles) == ("default", ["default"])
    assert (conflict.in_use, list(conflict.versions)) == ("v1.0", ["v0.0", "v1.0", "v1.1"])
    assert [status_of(*one) for one in conflict.versions.items()] == ["baseline", "published", "candidate"]
    roll_back(brain, "conflict", "v0.0", None, "by hand")
    conflict = next(module for module in shelf_of(brain, "default").modules if module.name == "conflict")
    assert conflict.in_use == "v0.0" and conflict.since is not None and conflict.since["why"] == "by hand"
    assert status_of("v1.0", conflict.versions["v1.0"]) == "rolled back"


def test_profiles_with_versions_can_be_chosen(brain: Brain) -> None:
    (brain.settings.optimized_modules_dir / "star" / "intent").mkdir(parents=True)
    (brain.settings.optimized_modules_dir / "star" / "intent" / "latest.json").write_text("{}")
    (brain.settings.optimized_modules_dir / "star" / "reports").mkdir()
    assert shelf_of(brain, None).profiles == ["default", "star"]


def test_two_versions_are_compared_even_if_the_baseline_is_in_the_code_alone(brain: Brain) -> None:
    save(brain, "conflict", MISLED)
    found = compared(brain, "conflict", None, "", "")
    assert (found.a.version, found.b.version) == ("v0.0", "v1.0")
    assert "use_optimized=False" in found.a.python and "dspy.Predict" in found.b.python
    assert found.changes == diff(found.a.instruction, MISLED)
    assert any(line.sign == "+" and "frustration" in str(line.parts) for line in found.changes)
    assert compared(brain, "conflict", None, "v1.0", "v1.0").changes == []
    with pytest.raises(InputError, match="no module 'mood'"):
        compared(brain, "mood", None, "", "")


def test_ended_tests_are_paged_and_a_damaged_one_hides_no_other(brain: Brain) -> None:
    assert brain.gym is not None
    save(brain, "conflict", MISLED, "candidate")
    for n in range(ENDED + 2):
        begin(brain, "default", "conflict", "v0.0", "v1.0", name=f"test {n}")
        stop(brain, f"test {n}")
    begin(brain, "default", "conflict", "v0.0", "v1.0", name="runs")
    with brain.gym.writing():
        brain.gym.connection.execute("UPDATE ab_tests SET betting = '{' WHERE name = 'test 11'")
    found = trials_of(brain)
    assert [one["test"] for one in found.running] == ["runs"]
    assert verdict_of(found.running[0]) == "No closed conversation has been compared yet."
    assert [one["test"] for one in found.ended] == [f"test {n}" for n in range(10, 1, -1)]
    assert list(found.damaged) == ["test 11"] and found.older == ENDED
    assert found.versions["conflict"] == ["v0.0", "v1.0"]
    older = trials_of(brain, ENDED)
    assert [one["test"] for one in older.ended] == ["test 1", "test 0"] and older.older is None
    assert verdict_of(older.ended[0]) == "Ended: stopped by hand."


def test_dreams_say_what_is_missing_and_then_what_became_of_them(observed: Any) -> None:
    brain = observed(12)
    assert dreams_of(brain).missing == "12 closed conversations; 50 are needed (DREAM_MIN_CONVERSATIONS)"
    brain = observed(12, dream_min_conversations=5)
    assert dreams_of(brain).missing is None and dreams_of(brain).cycle is None
    asyncio.run(dream(brain, count=5))
    found = dreams_of(brain)
    assert found.cycle is not None and found.stored == found.cycle["dreams"] == len(found.newest)
    assert found.cycle["replayed"] and len(dreams_of(brain, found.newest[1]["id"]).newest) == found.stored - 1


def test_runs_of_both_kinds_are_told_the_newest_first_and_paged(brain: Brain) -> None:
    assert brain.gym is not None
    for n in range(SHOWN + 3):
        at = f"2026-11-24T10:00:{n:02}.000Z"
        run = {"profile": "default", "started_at": at, "ended_at": at, "status": "success", "reason": None}
        if n % 2:
            brain.gym.runs.save({**run, "run_id": f"r{n}", "decisions_processed": 1, "optimized_count": 2})
        else:
            brain.gym.dreams.save_cycle({**run, "cycle": f"c{n}", "dreams": 7})
    found = work_of(brain)
    assert [(run["kind"], run["run_id"], run["made"]) for run in found.runs[:2]] == [
        (DREAM, "c22", 7),
        (OPTIMIZE, "r21", 2),
    ]
    assert len(found.runs) == SHOWN + 1 and [job["name"] for job in found.jobs] == ["optimize", "dream", "retention"]
    older = work_of(brain, found.runs[SHOWN - 1]["run_id"])
    assert [run["run_id"] for run in older.runs] == ["c2", "r1", "c0"]


def test_a_run_by_hand_runs_until_its_process_is_gone(observed: Any) -> None:
    brain = observed(1)
    report = {"decisions_processed": 1, "optimized_count": 0, "ended_at": None, "status": "running", "reason": None}
    brain.gym.runs.save({**report, "run_id": "r", "profile": "default", "started_at": "2026-11-24T10:00:00.000Z"})
    with alone(brain.settings.optimized_modules_dir / "default", "optimizing"):
        job = work_of(brain).jobs[0]
        assert (job["last_status"], job["last_run"]) == ("running", "2026-11-24T10:00:00.000Z")
    found = work_of(brain)
    assert (found.jobs[0]["last_status"], found.runs[0]["status"]) == (None, "interrupted")


def test_a_page_waits_until_a_locked_gym_has_said_so(brain: Brain, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> None:
        time.sleep(3.1)  # NiceGUI's own patience is 3
        raise GymError("the gym is locked")

    monkeypatch.setattr("understudy.server.pages.jobs.work_of", locked)
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5)) as browser:
        found = browser.get("/brain/ui/jobs")
    assert found.status_code == 200 and "the gym is locked" in found.text


def test_pages_announce_nothing_that_is_not_there(observed: Any) -> None:
    hello = {"role": "customer", "text": "Hello"}, {"role": "agent", "text": "Good morning"}
    observed([{"conversation_id": "short", "messages": list(hello)}])
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5)) as browser:
        chat, tests = (browser.get(f"/brain/ui{path}").text for path in ("/conversations/one?id=short", "/ab"))
    assert "Good morning" in chat and "what turned out to be true" not in chat
    assert "No test runs" in tests and "side by side, below" not in tests


def test_settings_are_written_as_they_are_typed_and_compared_by_value() -> None:
    given: Any = {"brain_conversation_idle_hours": 24.0, "brain_api_token": "hush-hush-hush-hush", "ab_share": 0.5}
    found = settings_by_subject(Brain(Settings(**given, brain_allowed_hosts="localhost,brain.example")))
    every = {one.name: one for some in found.values() for one in some}
    assert {name.upper() for name in Settings.model_fields} == every.keys()
    assert every["BRAIN_CONVERSATION_IDLE_HOURS"][1:] == (["24 h"], None)
    assert every["AB_SHARE"][1:] == (["0.5"], "1") and every["BRAIN_STRICT"].values == ["false"]
    assert every["BRAIN_ALLOWED_HOSTS"][1:] == (["localhost", "brain.example"], "localhost, 127.0.0.1")
    assert "hush" not in json.dumps(found)
    assert [one.name for one in found["Dreams"]][0] == "DREAM_ENABLED"


def test_a_server_without_the_dashboard_says_what_it_needs(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "nicegui" else find(name))
    monkeypatch.setenv("SCHEDULER_ENABLED", "false")
    app = runpy.run_path(str(Path(server.__file__).with_name("app.py")))["app"]
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5)) as page:
        for path in ("/brain/ui", "/brain/ui/jobs"):
            answer = page.get(path)
            assert answer.status_code == 404 and "pip install 'understudy[dashboard]'" in answer.json()["detail"]
        assert page.get("/brain/settings").status_code == 200
    assert "the dashboard needs NiceGUI: pip install 'understudy[dashboard]'" in caplog.messages
