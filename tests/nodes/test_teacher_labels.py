"""A teacher that labels what nobody has labelled, over the socket of a model server."""

import asyncio
import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from understudy.benchmarks.prove import run_cli, write
from understudy.checkpoints.gym import Gym
from understudy.events import Event
from understudy.intake import InputError
from understudy.lm import server as server_file
from understudy.nodes.brain import Brain
from understudy.nodes.teacher_labels import NoTeacher, label_by_teacher
from understudy.recording import parse
from understudy.replay import tell
from understudy.settings import Settings
from understudy.tests.ollama.server import OllamaServer

TEACHER = "qwen3:8b"
SAID: dict[str, Any] = {
    "conflict_type": "none",
    "intent": "booking",
    "main_goal": "book_service",
    "sub_goals": ["book_service", "get_price"],
    "required_info": ["vehicle", "preferred_date"],
    "user_satisfaction": 0.8,
}
EMAIL, PHONE, CARD = "ines.duarte@example.org", "+31 6 1234 5678", "4111 1111 1111 1111"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_file, "PAUSE_SECONDS", 0.01)


def talk(id: str = "c1", turns: int = 3, outcome: Any = None, **labels: dict[str, Any]) -> dict[str, Any]:
    """A conversation; `t1={...}` labels its turn 1."""
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        given = {"labels": labels[f"t{turn}"]} if f"t{turn}" in labels else {}
        messages.append({"role": "customer", "text": f"{id} asks {turn}", **given})
        messages.append({"role": "agent", "text": f"{id} answer {turn}", "action": "ask_date"})
    return {"conversation_id": id, "messages": messages, "outcome": outcome}


def observed(home: Path, *talks: dict[str, Any]) -> None:
    """Write conversations as a replay does, without what the student reads in them."""
    with closing(Gym(home / "brain_gym.db")) as gym:
        for one in talks:
            recording = parse(json.dumps(one).encode(), "default")
            gym.append(recording.conversation_id, list(recording.events()), "default")
            while events := gym.pending(recording.conversation_id):
                gym.record(None, recording.conversation_id, events)


def told(request: dict[str, Any]) -> str:
    return str(request["messages"][-1]["content"])


def labelled(*arguments: str, **environment: str) -> dict[str, Any]:
    status, out, err = run_cli("label", "--teacher", *arguments, "--json", **environment)
    assert (status, err) == (0, "") and out.count("\n") == 1
    found: dict[str, Any] = json.loads(out)
    return found


def known(source: str = "teacher", id: str = "c1", turn: int = 0) -> dict[str, Any]:
    """What one source says of a turn."""
    with closing(Gym(Path("brain_gym.db"))) as gym:
        return {row["field"]: row["value"] for row in gym.evidence(id, turn) if row["source"] == source}


def truth(id: str = "c1", turn: int = 0) -> dict[str, Any]:
    with closing(Gym(Path("brain_gym.db"))) as gym:
        return gym.truth(id, turn)


def teaches(confidence: float | dict[str, float] = 0.9, **said: Any) -> Callable[..., str]:
    """What a teacher answers: every field that it is asked for, with a confidence."""

    def reply(messages: Any, form: Any, options: Any) -> str:
        answer: dict[str, Any] = {}
        for name in form["properties"]:
            field = name.removesuffix("_confidence")
            sure = confidence.get(field, 0.9) if isinstance(confidence, dict) else confidence
            answer[name] = sure if name != field else {**SAID, **said}[name]
        return json.dumps(answer)

    return reply


def asked(server: OllamaServer) -> list[dict[str, Any]]:
    return [seen.body for seen in server.requests if seen.path == "/api/chat"]


def turn_of(prompt: str) -> int | None:
    found = re.search(r"^turn: (\d+)$", prompt, re.M)
    return int(found[1]) if found else None


@pytest.fixture
def teacher(ollama: OllamaServer) -> Iterator[OllamaServer]:
    ollama.reply = teaches()
    yield ollama


def test_every_turn_is_labelled_with_the_whole_conversation_in_view(home: Path, teacher: OllamaServer) -> None:
    assert run_cli("replay", str(write(home / "c.jsonl", [talk()])), LM_PROVIDER="embedded")[0] == 0
    found = labelled()
    assert (found["labelled"], found["skipped"], found["unsure"], found["conversations"]) == (3, 0, 0, 1)
    assert found["reasons"] == {} and found["evidence"] == 3 * len(SAID) + 6 and found["decisions"] == 3
    for turn in range(3):
        assert known(turn=turn) == SAID
    with closing(Gym(Path("brain_gym.db"))) as gym:
        assert {row["author"] for row in gym.evidence("c1", 0) if row["source"] == "teacher"} == {TEACHER}
        assert gym.inbox() == []
    judge, *turns = asked(teacher)
    assert list(judge["format"]["properties"]) == ["user_satisfaction", "user_satisfaction_confidence"]
    prompts = [one["messages"][-1]["content"] for one in turns]
    assert [turn_of(prompt) for prompt in prompts] == [0, 1, 2]
    assert all("customer (turn 2): c1 asks 2\nagent (ask_date): c1 answer 2\n" in prompt for prompt in prompts)
    assert prompts[1].endswith("\nturn: 1\nmessage: c1 asks 1")
    assert not {"next_step", "proposed_response", "user_satisfaction"} & set(turns[0]["format"]["properties"])
    assert {(one["model"], one["options"]["temperature"]) for one in (judge, *turns)} == {(TEACHER, 0.0)}


def test_the_prompts_of_a_conversation_differ_only_in_their_end(home: Path, teacher: OllamaServer) -> None:
    observed(home, talk(outcome={"workflow_outcome": "success"}))
    labelled()
    texts = ["\n".join(message["content"] for message in one["messages"]) for one in asked(teacher)]
    beginnings = {text.rpartition("\nturn: ")[0] for text in texts}
    assert len(texts) == 3 and len(beginnings) == 1 and len(beginnings.pop()) > 0.95 * len(texts[0])


def test_the_outcome_says_how_satisfied_a_customer_was(home: Path, teacher: OllamaServer) -> None:
    observed(home, talk(outcome={"workflow_outcome": "failure"}))
    assert labelled()["labelled"] == 3
    assert "user_satisfaction" not in known() and truth()["user_satisfaction"] == 0
    assert len(asked(teacher)) == 3


def test_what_the_teacher_is_not_sure_of_is_left_out(home: Path, teacher: OllamaServer) -> None:
    teacher.reply = teaches({"intent": 0.69, "main_goal": 0.7, "sub_goals": 0, "user_satisfaction": 0.3})
    observed(home, talk())
    assert labelled()["labelled"] == 3
    assert set(known()) == {"conflict_type", "main_goal", "required_info"}


def test_a_turn_without_any_sure_label_is_not_asked_for_again(home: Path, teacher: OllamaServer) -> None:
    teacher.reply = teaches(0.2)
    observed(home, talk())
    found = labelled()
    assert (found["labelled"], found["unsure"], found["conversations"]) == (0, 3, 1) and known() == {}
    teacher.requests.clear()
    assert labelled()["conversations"] == 0 and asked(teacher) == []


def test_doing_it_again_asks_nothing_and_another_teacher_is_asked(home: Path, teacher: OllamaServer) -> None:
    observed(home, talk("c1"), talk("c2"))
    assert labelled()["conversations"] == 2
    before, count = known(), len(asked(teacher))
    found = labelled()
    assert (found["labelled"], found["conversations"], len(asked(teacher))) == (0, 0, count)
    assert known() == before
    assert labelled(OLLAMA_TEACHER_MODEL="gemma3:4b")["labelled"] == 6


def test_turns_that_a_person_has_labelled_are_left_alone(home: Path, teacher: OllamaServer) -> None:
    observed(home, talk(t1={"intent": "complaint"}))
    assert labelled()["labelled"] == 2
    assert [turn_of(one["messages"][-1]["content"]) for one in asked(teacher)] == [None, 0, 2]
    assert known(turn=1) == {} and truth(turn=1)["intent"] == "complaint"


def test_a_person_wins_over_the_teacher_before_and_after(home: Path, teacher: OllamaServer) -> None:
    observed(home, talk())
    run_cli("label", "c1", "0", "tone=firm")
    labelled()
    assert run_cli("label", "c1", "1", "intent=complaint", "--author", TEACHER)[0] == 0
    assert truth(turn=1)["intent"] == "complaint" and known(turn=1)["intent"] == "booking"
    assert known("human", turn=1) == {"intent": "complaint"} and known(turn=0) == {}
    run_cli("outcome", "c1", "--satisfaction", "0.1")
    assert truth(turn=2)["user_satisfaction"] == 0.1 and truth(turn=2)["next_step"] == "ask_date"


def test_nobody_from_outside_can_speak_as_the_teacher(home: Path) -> None:
    observed(home, talk())
    for claim in ("teacher", "outcome", "hindsight"):
        assert run_cli("label", "c1", "0", f"source={claim}")[0] == 1
        with pytest.raises(InputError, match="label.source"):
            brain = Brain(Settings())
            posted = {"turn": 0, "fields": {"intent": "booking"}, "source": claim}
            asyncio.run(tell(brain, "c1", label=posted))
    (home / "rows.csv").write_text("conversation_id,turn,intent,source\nc1,0,booking,teacher\nc1,1,booking,\n")
    assert run_cli("label", "--file", "rows.csv", "--author", TEACHER)[0] == 1
    stolen = talk("c2", t0={"source": "teacher"})
    assert run_cli("replay", str(write(home / "d.jsonl", [stolen])))[0] == 1
    with closing(sqlite3.connect("brain_gym.db")) as gym:
        found = gym.execute("SELECT turn, field, source FROM evidence WHERE source <> 'hindsight'").fetchall()
    assert found == [(1, "intent", "human")]


def test_a_teacher_that_lies_costs_only_its_turn(home: Path, teacher: OllamaServer) -> None:
    def reply(messages: Any, form: Any, options: Any) -> str:
        lies = turn_of(messages[1]["content"]) == 1
        return teaches(intent="world_peace")(messages, form, options) if lies else honest(messages, form, options)

    honest, teacher.reply = teaches(), reply
    observed(home, talk())
    found = labelled()
    assert (found["labelled"], found["skipped"], found["reasons"]) == (2, 1, {"WrongLabel": 1})
    assert known(turn=1) == {} and known(turn=2) == SAID
    teacher.reply = honest
    teacher.requests.clear()
    assert labelled()["labelled"] == 1 and known(turn=1) == SAID
    assert [turn_of(one["messages"][-1]["content"]) for one in asked(teacher)] == [None, 1]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (teaches(confidence=7.0), "OutOfRange"),
        (teaches(sub_goals=["rule_the_world"]), "WrongLabel"),
        (lambda *given: "I would rather not.", "NotJson"),
        (lambda *given: '{"source": "human"}', "FieldMissing"),
    ],
)
def test_what_a_liar_says_is_no_evidence(home: Path, teacher: OllamaServer, reply: Any, kind: str) -> None:
    teacher.reply = reply
    observed(home, talk(turns=2, outcome={"user_satisfaction": 1.0}))
    found = labelled()
    assert (found["labelled"], found["skipped"], found["reasons"]) == (0, 2, {kind: 2})
    assert known(turn=0) == known(turn=1) == {}


def test_addresses_and_numbers_do_not_reach_the_teacher(home: Path, teacher: OllamaServer) -> None:
    one = talk()
    one["customer"] = {"name": "Ines", "mail": EMAIL, "car": {"plate": "KL-07-QX", "kind": "van", "home": "Port Vale"}}
    one["messages"][0]["text"] = "ines here, my van kl 07 qx is at port-vale"
    one["messages"][2]["text"] = f"Write to {EMAIL} or ring {PHONE}."
    one["messages"][3] |= {"text": f"Shall I charge {CARD}?", "action": f"mail {EMAIL}"}
    other = talk("c2", 1)
    other["messages"][0]["text"] = "my van, at the port, in the vale"
    observed(home, one, other)
    found = labelled()
    assert (found["labelled"], found["masked"]) == (4, {"card": 1, "customer": 3, "email": 2, "phone": 1})
    assert any(
        "message: [customer] here, my van [customer] is at [customer]" in text for text in map(told, asked(teacher))
    )
    sent = json.dumps([seen.body for seen in teacher.requests])
    for secret in (EMAIL, "ines.duarte", PHONE, "1234 5678", CARD, "4111", "Ines"):
        assert secret not in sent
    prompt = next(text for text in map(told, asked(teacher)) if text.endswith("ring [phone]."))
    assert prompt.endswith("message: Write to [email] or ring [phone].") and "agent (mail [email]): Shall I" in prompt
    with closing(Gym(Path("brain_gym.db"))) as gym:
        assert EMAIL in gym.history("c1", 99, 99)[2]["text"]


async def test_a_server_that_goes_leaves_what_is_written(
    home: Path, teacher: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "1")
    await asyncio.to_thread(observed, home, talk("c1"), talk("c2"))
    with pytest.raises(NoTeacher, match="nothing listens there.*; what is labelled is kept, and the same command"):
        await label_by_teacher(Brain(Settings()), on_conversation=lambda turns: teacher.stop())
    assert known(id="c2") == SAID and known(id="c1") == {}
    teacher.start()
    report = await label_by_teacher(Brain(Settings()))
    assert report.conversations == ["c1"] and known(id="c1") == SAID


def test_a_dead_server_is_one_line(home: Path, teacher: OllamaServer) -> None:
    observed(home, talk())
    teacher.stop()
    status, out, err = run_cli("label", "--teacher", "--json")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"understudy: {teacher.url}: nothing listens there; start it with: ollama serve")
    teacher.start()
    status, out, err = run_cli("label", "--teacher", "--json", OLLAMA_TEACHER_MODEL="big:70b")
    assert (status, out, err.count("\n")) == (1, "", 1) and "ollama pull big:70b" in err


def test_the_embedded_teacher_does_not_label(home: Path) -> None:
    observed(home, talk())
    status, out, err = run_cli("label", "--teacher", "--json")
    assert (status, out) == (1, "") and err == (
        "understudy: LM_PROVIDER=embedded: the embedded teacher rewrites instructions, it does not label;"
        " set LM_PROVIDER=ollama\n"
    )


async def test_one_who_stops_it_keeps_the_conversations_that_are_done(home: Path, teacher: OllamaServer) -> None:
    first, go = threading.Event(), threading.Event()

    def reply(messages: Any, form: Any, options: Any) -> str:
        if "c1 asks 0" in messages[-1]["content"] and turn_of(messages[-1]["content"]) == 2:
            first.set()
            go.wait(5)
        return teaches()(messages, form, options)

    teacher.reply = reply
    done = asyncio.Event()
    await asyncio.to_thread(observed, home, talk("c1"), talk("c2"))
    task = asyncio.create_task(label_by_teacher(Brain(Settings()), on_conversation=lambda turns: done.set()))
    assert await asyncio.to_thread(first.wait, 5)
    await asyncio.wait_for(done.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    assert known(id="c2") == SAID and all(known(id="c1", turn=turn) == {} for turn in range(3))
    report = await label_by_teacher(Brain(Settings()))
    assert (report.conversations, report.labelled) == (["c1"], 3)


def test_labels_are_written_together_or_not_at_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observed(home, talk())
    events = [
        Event(kind="label", payload={"turn": turn, "fields": {"intent": "booking"}, "source": "teacher"})
        for turn in range(3)
    ]
    with closing(Gym(Path("brain_gym.db"))) as gym:
        counted, drawn = gym.material.newest_ids(), gym._draw
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(gym, "_draw", lambda id, event: drawn(id, event) if event.payload["turn"] < 2 else 1 / 0)
            gym.learn("c1", events, "default")
        assert gym.material.newest_ids() == counted and known() == {}
        gym.learn("c1", events, "default")
    assert all(known(turn=turn) == {"intent": "booking"} for turn in range(3))


OLD, NOW = "2020-01-01T10:00:00Z", "2999-01-01T10:00:00Z"


def test_only_closed_conversations_are_labelled_the_newest_first(home: Path, teacher: OllamaServer) -> None:
    def said(id: str, at: str | None, *more: Event, upto: int | None = None) -> None:
        events = [Event(kind="customer_message", text="hi", message_id="m", at=at), *more]
        gym.append(id, events, "default")
        gym.record(None, id, gym.pending(id, upto))

    with closing(Gym(Path("brain_gym.db"))) as gym:
        said("ended", NOW, Event(kind="outcome", payload={"workflow_outcome": "success"}))
        said("cut off", NOW, Event(kind="outcome"))
        said("silent", OLD)
        said("a label is no message", OLD, Event(kind="label", payload={"turn": 0, "fields": {}}))
        said("open", None)
        said("speaking", NOW)
        said("waiting", OLD, Event(kind="agent_message", text="hello", message_id="a", at=OLD), upto=0)
        found = [id for id, _ in gym.material.unlabelled(TEACHER, OLD, 50)]
    assert found == ["a label is no message", "silent", "cut off", "ended"]
    assert labelled()["conversations"] == 4 and known(id="open") == {} and known(id="silent") == SAID
    assert "user_satisfaction" in known(id="cut off") and "user_satisfaction" not in known(id="ended")


def test_a_limit_goes_on_to_older_ones_before_it_comes_back(home: Path, teacher: OllamaServer) -> None:
    observed(home, *(talk(f"c{i}", turns=1) for i in range(4)))
    with closing(Gym(Path("brain_gym.db"))) as gym:
        gym.append("c3", [Event(kind="customer_message", text="one more thing", message_id="late")], "default")
    assert labelled("--limit", "2")["conversations"] == 2
    assert [bool(known(id=f"c{i}")) for i in range(4)] == [False, False, True, True]
    with closing(Gym(Path("brain_gym.db"))) as gym:
        gym.append("c3", [Event(kind="customer_message", text="and another", message_id="later")], "default")
        assert gym.material.unlabelled(TEACHER, OLD, 9) == [("c1", [0]), ("c0", [0]), ("c3", [2])]


def test_of_a_conversation_that_does_not_fit_the_teacher_sees_what_is_near(home: Path, teacher: OllamaServer) -> None:
    one = talk(
        turns=60,
        outcome={"workflow_outcome": "success"},
        **{f"t{turn}": {"intent": "booking"} for turn in range(60) if turn != 30},
    )
    for message in one["messages"]:
        message["text"] += " blah" * 20
    observed(home, one)
    assert labelled(OLLAMA_NUM_CTX="4096")["labelled"] == 1
    (prompt,) = (body["messages"][-1]["content"] for body in asked(teacher))
    seen = [int(turn) for turn in re.findall(r"^customer \(turn (\d+)\)", prompt, re.M)]
    assert seen[0] == 0 and seen[1:] == list(range(seen[1], seen[-1] + 1)) and 15 < len(seen) < 40
    assert abs((seen[1] + seen[-1]) / 2 - 30) <= 1


def test_a_profile_that_is_gone_costs_only_its_conversations(home: Path, teacher: OllamaServer) -> None:
    observed(home, talk("c1"), talk("c2"))
    with closing(sqlite3.connect("brain_gym.db")) as gym:
        gym.execute("UPDATE events SET profile = 'gone' WHERE conversation_id = 'c1'")
        gym.commit()
    found = labelled()
    assert (found["labelled"], found["skipped"], found["reasons"]) == (3, 3, {"ProfileError": 3})


@pytest.mark.parametrize(
    "wrong",
    [("--teacher", "c1"), ("--teacher", "--file", "rows.csv"), ("--teacher", "--author", "me"), ("--limit", "3")],
)
def test_the_options_do_not_mix(home: Path, wrong: tuple[str, ...]) -> None:
    assert run_cli("label", *wrong)[0] == 2


def test_there_is_a_bar_on_a_terminal(home: Path, teacher: OllamaServer) -> None:
    observed(home, talk())
    status, out, err = run_cli("label", "--teacher", "--json", TTY_COMPATIBLE="1")
    assert status == 0 and json.loads(out)["labelled"] == 3 and "labelling" in err and "3 turns" in err
