"""The commands that compare, as a person types them."""

import json
import stat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from understudy.benchmarks.prove import run_cli, write
from understudy.nodes.brain import Brain
from understudy.tests.nodes.test_ab_test import MISLED, save
from understudy.tests.test_cli import ok, recording


def words(*arguments: str) -> str:
    status, out, err = run_cli(*arguments)
    assert (status, err) == (0, ""), err
    return out


@pytest.fixture
def started(home: Path, brain: Brain) -> str:
    """A test of conflict, fed with two conversations."""
    save(brain, "conflict", MISLED, "candidate")
    found = ok("ab", "start", "conflict", "--b", "v1.0")
    labelled = recording("c1", outcome={"workflow_outcome": "success"})
    labelled["messages"][0]["labels"] = {"conflict_type": "none"}
    ok("replay", str(write(home / "c.jsonl", [labelled, recording("c2")])))
    return str(found["test"])


def test_a_test_is_started_looked_at_and_stopped(started: str) -> None:
    assert started == "default-conflict-v0.0-v1.0"
    found = ok("ab", "status")
    assert (found["test"], found["sample_size"], found["wins_a"], found["without_evidence"]) == (started, 1, 1, 0.5)
    assert {"mean_score_a", "mean_score_b", "improvement_pct", "wins_b", "ties", "interval", "e_value"} <= found.keys()
    assert [one["test"] for one in found["tests"]] == [started]
    shown = words("ab", "status", "conflict")
    assert "conflict (A: v0.0, B: v1.0)" in shown and "not decided yet, after 1 conversation" in shown
    assert "1 conversations: A " in shown and "1 without evidence (50% of the closed)" in shown
    assert "fault rate A 0, B 0; latency ms A " in shown
    declared = ok("ab", "declare")
    assert (declared["winner"], declared["reason"]) == (None, "1 conversations; 30 are needed")
    stopped = ok("ab", "stop", "conflict")
    assert (stopped["test"], stopped["consequence"]) == (started, "v0.0 stays in use")
    assert "ended: stopped by hand; v0.0 stays in use" in words("ab", "status")
    assert ok("ab", "start", "conflict", "--a", "v0.0", "--b", "v1.0")["test"] == started + "-2"


def test_the_course_is_saved_as_a_picture(started: str) -> None:
    Path("course.svg").touch()
    Path("course.svg").chmod(0o666)
    words("ab", "status", "--picture", "course.svg")
    assert stat.S_IMODE(Path("course.svg").stat().st_mode) == 0o600
    assert ElementTree.parse("course.svg").getroot().tag.endswith("svg")
    status, _, err = run_cli("ab", "status", "--picture", "nowhere/course.svg")
    assert status == 1 and "nowhere/course.svg: cannot be written: No such file" in err


def test_without_a_test_the_next_step_is_told(home: Path) -> None:
    assert "understudy ab start MODULE --a VERSION --b VERSION begins one" in words("ab", "status")
    assert ok("ab", "status") == {"tests": []}


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("declare",), 1, "there is no A/B test yet; understudy ab start"),
        (("stop", "mood"), 1, "no A/B test 'mood'; understudy ab status lists them"),
        (("status", "x\x1b[2J"), 1, "no A/B test 'x\\x1b[2J'"),
        (("start", "mood", "--b", "v1.0"), 1, "no module 'mood'; there are conflict"),
        (("start", "intent", "--b", "v1.0"), 1, "no version v1.0 of 'intent'; there are v0.0"),
        (("start", "intent", "--b", "newest"), 1, "version 'newest': must be of the form v1.0"),
        (("start", "intent"), 2, "Missing option '--b'"),
        (("start", "intent", "--b", "v0.0", "--profile", "nope"), 1, "no profile 'nope'"),
        (("bogus",), 2, "No such command 'bogus'"),
    ],
)
def test_what_cannot_be_is_one_line(home: Path, arguments: tuple[str, ...], status: int, says: str) -> None:
    found, out, err = run_cli("ab", *arguments)
    assert (found, out) == (status, "") and says in err
    assert status == 2 or (err.count("\n") == 1 and err.isprintable() is False and "\x1b" not in err)


def test_a_name_is_asked_for_when_several_run(started: str) -> None:
    ok("ab", "start", "intent", "--b", "v0.0")
    status, _, err = run_cli("ab", "stop")
    assert status == 1 and f"several A/B tests run: {started}, default-intent-v0.0-v0.0; name one" in err


def test_without_a_gym_it_says_so(home: Path) -> None:
    for command in (("ab", "status"), ("suggestions",)):
        status, out, err = run_cli(*command, RL_GYM_ENABLED="false")
        assert (status, out) == (1, "") and "RL_GYM_ENABLED=false" in err


def test_help_teaches(home: Path) -> None:
    assert "understudy ab start intent --a v0.0 --b v1.0" in words("ab", "--help")
    assert "understudy label c1 0 was_better=true" in words("suggestions", "--help")


def chat(path: Path) -> Path:
    """A conversation of somebody who writes casually, and has a name."""
    messages: list[dict[str, Any]] = [
        {"role": "customer", "text": "hey, can u guys clean my van on friday? thx 😊"},
        {"role": "agent", "text": "Hello. We are able to assist you. At what time would you require it?"},
        {"role": "customer", "text": "9 would be cool"},
        {"role": "agent", "text": "Thank you. I will not be able to do 9, but I can do 10:30 for $40."},
    ]
    line = {"conversation_id": "c1", "customer": {"name": "Ines Duarte"}, "messages": messages}
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    return path


def test_suggestions_are_shown_and_reviewed(home: Path) -> None:
    ok("replay", str(chat(home / "chat.jsonl")))
    found = ok("suggestions")["suggestions"]
    assert [one["turn"] for one in found] == [1, 0]
    assert found[1]["original_message"] == "Hello. We are able to assist you. At what time would you require it?"
    assert found[1]["status"] == "accepted" and found[1]["modifications"] and found[1]["was_better"] is None
    ok("label", "c1", "0", "was_better=true", "--author", "mia")
    reviewed = ok("suggestions", "c1", "--status", "accepted")["suggestions"][-1]
    assert (reviewed["was_better"], reviewed["reviewer"]) == (1, "mia")
    ok("label", "c1", "0", "was_better=no")
    assert ok("suggestions")["suggestions"][1]["was_better"] == 0
    shown = words("suggestions")
    assert "c1 0  accepted, not better: " in shown
    assert "  sent   Hello. We are able to assist you." in shown and "  would  " in shown
    status, _, err = run_cli("label", "c1", "0", "was_better=perhaps")
    assert status == 1 and "labels.was_better" in err


def test_without_suggestions_it_says_where_they_come_from(home: Path) -> None:
    assert "they come with the agent's replies while PERSONALIZE_ENABLED is true" in words("suggestions")
    ok("replay", str(chat(home / "chat.jsonl")), PERSONALIZE_ENABLED="false")
    assert ok("suggestions") == {"suggestions": []}
