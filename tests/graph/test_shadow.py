"""The shadow graph, from outside: invoke it and look at the row."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.shadow import create_shadow_workflow
from understudy.intake import InputError
from understudy.lm.embedded import EmbeddedStudent
from understudy.nodes import faculty as faculty_file
from understudy.nodes.brain import Brain, WithBrain
from understudy.nodes.modules import MODULES, READERS
from understudy.settings import Settings
from understudy.state import ShadowState

NAMES = sorted(MODULES)


class Shadow:
    """A thread of the shadow graph in a gym of its own."""

    def __init__(self, brain: Brain) -> None:
        self.brain = brain

    async def post(self, thread: str = "t1", **news: Any) -> dict[str, Any]:
        async with open_checkpointer() as saver:
            graph = create_shadow_workflow(checkpointer=saver)
            return await graph.ainvoke(news, config(thread), context=WithBrain(brain=self.brain))

    def row(self, turn: int, conversation: str = "t1") -> Any:
        return self.brain.gym.decision(conversation, turn)


def config(thread: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}}


@pytest.fixture(params=["embedded", "ollama"], autouse=True)
def provider(request: pytest.FixtureRequest, home: Path) -> str:
    """Everything here holds for both: the second one over a socket."""
    if request.param == "ollama":
        request.getfixturevalue("ollama")
    return str(request.param)


@pytest.fixture
def shadow(brain: Brain) -> Shadow:
    return Shadow(brain)


def said(text: str, id: str | None = None) -> HumanMessage:
    return HumanMessage(text, id=id)


async def test_a_customer_message_becomes_one_row(shadow: Shadow, provider: str) -> None:
    answer = await shadow.post(
        messages=[said("Can you take my van on Friday?")], state={"step": 1}, customer={"name": "Ines"}
    )
    row = shadow.row(0)
    assert answer["turn"] == 0 and answer["decision_id"] == row.decision_id
    assert sorted(row.readings) == NAMES and row.faults == []
    assert row.versions == dict.fromkeys(MODULES, "v0.0") and row.models == dict.fromkeys(
        MODULES, "embedded/student" if provider == "embedded" else "ollama/gemma3:4b"
    )
    assert (row.conflict_type, row.intent) == (
        row.readings["conflict"]["fields"]["conflict_type"],
        row.readings["intent"]["fields"]["intent"],
    )
    assert row.proposed_response and row.tone and row.tokens_in > 0 and row.latency_ms > 0
    assert row.state_snapshot == {"step": 1} and row.engine == provider and row.brain_mode == "shadow"
    assert "messages" not in answer


async def test_the_next_post_continues_and_fills_the_turn_before(shadow: Shadow) -> None:
    await shadow.post(messages=[said("a wash please")])
    reply = AIMessage("For when?", additional_kwargs={"action": "ask_time"})
    await shadow.post(messages=[reply, said("tomorrow")])
    first, second = shadow.row(0), shadow.row(1)
    assert (first.response_sent, first.action_taken, first.user_response) == ("For when?", "ask_time", "tomorrow")
    assert second.history_upto == 2
    history = shadow.brain.gym.history("t1", second.history_upto, 40)
    assert [line["text"] for line in history] == ["a wash please", "For when?"]
    assert shadow.brain.gym.truth("t1", 0) == {"proposed_response": "For when?", "next_step": "ask_time"}


async def test_a_reply_an_outcome_and_a_label_run_no_reader(shadow: Shadow, monkeypatch: pytest.MonkeyPatch) -> None:
    await shadow.post(messages=[said("a wash please")])
    shadow.brain.settings = shadow.brain.settings.model_copy(update={"personalize_enabled": False})
    monkeypatch.setattr(EmbeddedStudent, "complete", lambda self, request: pytest.fail("a reader ran"))
    assert (await shadow.post(messages=[AIMessage("For when?")]))["turn"] is None
    await shadow.post(label={"turn": 0, "fields": {"intent": "booking"}})
    await shadow.post(outcome={"workflow_outcome": "failure"})
    row, truth = shadow.row(0), shadow.brain.gym.truth("t1", 0)
    assert (row.response_sent, row.workflow_outcome) == ("For when?", "failure")
    assert truth == {"proposed_response": "For when?", "intent": "booking", "user_satisfaction": 0.0}


async def test_nothing_new_is_no_error_and_a_repeated_message_is_a_no_op(shadow: Shadow) -> None:
    await shadow.post(messages=[said("hello", "m1")])
    before = shadow.row(0)
    for news in ({}, {"messages": []}, {"messages": [said("hello", "m1")]}, {"messages": [said("other words", "m1")]}):
        answer = await shadow.post(**news)
        assert answer["turn"] is None and answer["readings"] == {} and answer["faults"] == []
    assert shadow.row(0) == before and shadow.row(1) is None


async def test_every_waiting_message_gets_its_row_and_its_number(shadow: Shadow) -> None:
    await shadow.post(messages=[said("one", "a"), said("two", "b"), AIMessage("hm", id="c"), said("three", "d")])
    assert [shadow.row(turn).user_message for turn in range(3)] == ["one", "two", "three"]
    trimmed = [said("three", "d"), said("four", "e")]
    await shadow.post(messages=trimmed)
    assert (shadow.row(3).user_message, shadow.row(3).turn) == ("four", 3)


async def test_what_is_posted_for_a_run_is_logged_once_however_many_turns_wait(shadow: Shadow) -> None:
    await shadow.post(messages=[said("zero", "z")])
    news = {"outcome": {"workflow_outcome": "success"}, "label": {"turn": 0, "fields": {"intent": "booking"}}}
    await shadow.post(messages=[said("one", "a"), said("two", "b"), said("three", "c")], **news)
    with sqlite3.connect("brain_gym.db") as gym:
        kinds = gym.execute("SELECT kind, count(*) FROM events GROUP BY kind ORDER BY kind").fetchall()
    assert kinds == [("customer_message", 4), ("label", 1), ("outcome", 1)]


async def test_the_host_s_state_is_that_of_its_own_turn(shadow: Shadow) -> None:
    await shadow.post(messages=[said("one")], state={"step": 1}, customer={"name": "Ines"})
    await shadow.post(messages=[said("two")])
    await shadow.post(messages=[said("three")], state={"step": 3})
    assert [shadow.row(turn).state_snapshot for turn in range(3)] == [{"step": 1}, None, {"step": 3}]


async def test_a_module_sees_the_first_message_and_the_newest(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAIN_HISTORY_MESSAGES", "3")
    shadow, seen = Shadow(Brain(Settings())), []
    inputs = MODULES["conflict"].inputs
    spying = replace(MODULES["conflict"], inputs=lambda turn: seen.append(turn["history"]) or inputs(turn))
    monkeypatch.setattr("understudy.nodes.conflict.CONFLICT", spying)
    await shadow.post(messages=[said(f"m{i}", f"m{i}") for i in range(7)])
    assert [[line["text"] for line in history] for history in seen] == [
        [], ["m0"], ["m0", "m1"], ["m0", "m1", "m2"], ["m0", "m1", "m2", "m3"],
        ["m0", "m2", "m3", "m4"], ["m0", "m3", "m4", "m5"],
    ]  # fmt: skip


FAULTS = [["conflict"], ["conflict", "goals"], ["response"], [f.name for f in READERS], NAMES]


@pytest.mark.parametrize("failing", FAULTS, ids=lambda names: "+".join(names))
async def test_a_module_that_raises_leaves_a_fault_and_the_rest_goes_on(
    shadow: Shadow, monkeypatch: pytest.MonkeyPatch, failing: list[str]
) -> None:
    working = faculty_file.read

    async def read(faculty: Any, state: Any, runtime: Any) -> Any:
        if faculty.name in failing:
            raise ValueError(f"{faculty.name} is broken")
        return await working(faculty, state, runtime)

    for name in MODULES:
        monkeypatch.setattr(f"understudy.nodes.{name}.read", read)
    for turn in range(2):
        answer = await shadow.post(messages=[said(f"turn {turn}")])
        row = shadow.row(turn)
        assert sorted(row.readings) == [name for name in NAMES if name not in failing]
        assert [(f["step"], f["kind"], f["message"]) for f in row.faults] == [
            (name, "ValueError", f"{name} is broken") for name in sorted(failing)
        ]
        assert len(answer["faults"]) == len(failing)
    if "conflict" in failing:
        assert shadow.row(0).conflict_type is None and shadow.row(0).conflict_confidence is None
    for name in MODULES:
        monkeypatch.setattr(f"understudy.nodes.{name}.read", working)
    await shadow.post(messages=[said("better now")])
    assert shadow.row(2).faults == [] and sorted(shadow.row(2).readings) == NAMES


async def test_a_module_that_hangs_is_cut_off(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_TIMEOUT", "1")
    monkeypatch.setattr("understudy.lm.roles.LOAD_SECONDS", -9)
    shadow, working = Shadow(Brain(Settings())), faculty_file.read

    async def read(faculty: Any, state: Any, runtime: Any) -> Any:
        if faculty.name == "goals":
            await asyncio.sleep(30)
        return await working(faculty, state, runtime)

    monkeypatch.setattr("understudy.nodes.goals.read", read)
    await shadow.post(messages=[said("hello")])
    assert [fault["step"] for fault in shadow.row(0).faults] == ["goals"]
    assert sorted(shadow.row(0).readings) == ["conflict", "intent", "quality", "response"]


@pytest.mark.parametrize(
    "answer",
    ["", "not JSON", "{}", '{"conflict_type":"anger","confidence":0.5,"reasoning":"x"}',
     '{"conflict_type":"none","confidence":761,"reasoning":"x"}', '{"conflict_type":"none","confidence":0.5}'],
)  # fmt: skip
async def test_a_model_that_lies_is_a_fault_and_never_a_value(
    shadow: Shadow, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    working = EmbeddedStudent.complete

    def complete(self: EmbeddedStudent, request: Any) -> Any:
        response = working(self, request)
        if "conflict_type" not in request.config.response_format["schema"]["properties"]:
            return response
        return replace(response, message=type(response.message).assistant(answer or " "))

    monkeypatch.setattr(EmbeddedStudent, "complete", complete)
    await shadow.post(messages=[said("hello")])
    row = shadow.row(0)
    assert [fault["step"] for fault in row.faults] == ["conflict"] and row.conflict_type is None
    assert row.readings["response"]["fields"]["proposed_response"]


@pytest.mark.parametrize(
    ("news", "field"),
    [
        ({"messages": 5}, "messages"),
        ({"messages": [{"foo": 1}]}, "messages"),
        ({"messages": [{"role": "martian", "content": "x"}]}, "messages"),
        ({"conversation_id": 7}, "conversation_id"),
        ({"state": "abc"}, "state"),
        ({"customer": [1]}, "customer"),
        ({"outcome": {"workflow_outcome": "maybe"}}, "outcome.workflow_outcome"),
        ({"outcome": {"user_satisfaction": 2}}, "outcome.user_satisfaction"),
        ({"outcome": {"mood": 2}}, "outcome.mood"),
        ({"label": {"turn": -1, "fields": {}}}, "label.turn"),
        ({"label": {"turn": 99, "fields": {"intent": "booking"}}}, "label.turn"),
        ({"again": "x"}, "again"),
        ({"again": True}, "again"),
        ({"again": -1}, "again"),
        ({"again": 1}, "again: the conversation has no turn 1"),
        ({"again": 0, "outcome": {"workflow_outcome": "success"}}, "again: goes alone"),
        ({"again": 0, "label": {"turn": 0, "fields": {"intent": "booking"}}}, "again: goes alone"),
    ],
)
async def test_input_of_the_wrong_shape_names_the_field_and_spoils_nothing(
    shadow: Shadow, news: dict[str, Any], field: str
) -> None:
    await shadow.post(messages=[said("hello")])
    with pytest.raises(InputError, match=f"^(.*, )?{field}"):
        await shadow.post(**news)
    await shadow.post(messages=[said("and again")])
    assert shadow.row(1).user_message == "and again"


def save_intent(brain: Brain) -> None:
    """Publish a v1.0 of intent."""
    program = MODULES["intent"].program(brain.profile(None))
    program.signature = program.signature.with_instructions("Always choose complaint.")
    brain.versioning("default").save_module("intent", program, "v1.0", {})


def fields(readings: dict[str, Any]) -> dict[str, Any]:
    return {name: reading["fields"] for name, reading in readings.items()}


def everything(brain: Brain) -> dict[str, Any]:
    """All rows that a turn writes."""
    tables = ("events", "brain_decisions", "evidence", "answer_counts", "personalization_suggestions")
    return {name: [tuple(row) for row in brain.gym.rows(f"SELECT * FROM {name}")] for name in tables}


async def test_a_turn_is_read_again_with_other_versions_and_nothing_is_recorded(shadow: Shadow, brain: Brain) -> None:
    await shadow.post(
        messages=[said("Can you take my van on Friday?", "m0")], state={"step": "date"}, customer={"name": "Ines"}
    )
    await shadow.post(messages=[said("thanks, what does it cost?", "m1")], customer={"name": "Ina"})
    save_intent(brain)
    kept = everything(brain)

    async def fork(turn: int, versions: dict[str, str], input: Any) -> Any:
        async with open_checkpointer() as saver:
            graph = create_shadow_workflow(checkpointer=saver)
            history = [state async for state in graph.aget_state_history(config("t1"))]
            (at,) = (state.config for state in history if state.values["decision_id"] == shadow.row(turn).decision_id)
            answer = await graph.ainvoke(input, at, context=WithBrain(brain=brain, versions=versions))
            return answer, (await graph.aget_state(config("t1"))).values["messages"]

    for turn in (0, 1):
        for input in ({}, {"again": turn}, {"again": turn, "messages": [said("what else?", f"m{turn}")]}):
            old = shadow.row(turn)
            answer, messages = await fork(turn, {"intent": "v0.0"}, input)
            assert answer["turn"] == turn and answer["decision_id"] is None and answer["faults"] == []
            assert fields(answer["readings"]) == fields(old.readings)
            assert [message.id for message in messages] == ["m0", "m1"][: turn + 1]
            answer, _ = await fork(turn, {"intent": "v1.0"}, input)
            assert answer["versions"]["intent"] == answer["readings"]["intent"]["version"] == "v1.0"
    assert (await shadow.post(again=0))["turn"] == 0
    assert (await fork(1, {}, {}))[0]["turn"] is None
    with pytest.raises(InputError, match="again: goes alone"):
        await shadow.post(again=0, messages=[said("new", "m2")])
    with pytest.raises(InputError, match="stay in the thread, and a run with an empty input reads them"):
        await shadow.post(again=0)
    assert everything(brain) == kept
    await shadow.post()
    assert (await shadow.post(again=0))["turn"] == 0
    await shadow.post(messages=[said("ok", "m3")])
    assert [shadow.row(turn).user_message for turn in (2, 3)] == ["new", "ok"], "what was refused is not lost"


async def test_an_edited_checkpoint_that_runs_on_records_nothing_and_says_why(shadow: Shadow, brain: Brain) -> None:
    await shadow.post(messages=[said("hello")])
    kept = everything(brain)
    async with open_checkpointer() as saver:
        graph = create_shadow_workflow(checkpointer=saver)
        turn = (await graph.aget_state(config("t1"))).config
        for node, readers in (("load", 5), ("intent", 1), ("response", 0)):
            at = await graph.aupdate_state(turn, {"message": "other words"}, as_node=node)
            faults = (await graph.ainvoke(None, at, context=WithBrain(brain=brain)))["faults"]
            assert len(faults) == readers and all("post `again`" in fault["message"] for fault in faults)
    assert everything(brain) == kept


async def test_a_run_reads_with_the_versions_that_load_fixed(shadow: Shadow, brain: Brain) -> None:
    save_intent(brain)
    await shadow.post(messages=[said("hello")])
    assert shadow.row(0).versions["intent"] == shadow.row(0).readings["intent"]["version"] == "v1.0"
    async with open_checkpointer() as saver:
        graph = create_shadow_workflow(use_optimized=False, checkpointer=saver)
        await graph.ainvoke({"messages": [said("hello")]}, config("t2"), context=WithBrain(brain=brain))
    assert shadow.row(0, "t2").versions["intent"] == "v0.0"


async def test_a_version_that_is_not_there_is_a_fault_of_that_module(shadow: Shadow, brain: Brain) -> None:
    async with open_checkpointer() as saver:
        graph = create_shadow_workflow(checkpointer=saver)
        context = WithBrain(versions={"intent": "v7.7"}, brain=brain)
        await graph.ainvoke({"messages": [said("hello")]}, config("t1"), context=context)
    row = shadow.row(0)
    assert [(fault["step"], fault["kind"]) for fault in row.faults] == [("intent", "NoVersion")]
    assert "there are v0.0" in row.faults[0]["message"]


async def test_without_a_gym_the_graph_answers_and_stores_nothing(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_GYM_ENABLED", "false")
    graph = create_shadow_workflow()
    news = {"conversation_id": "c1", "messages": [said("hello"), AIMessage("hi"), said("a wash please")]}
    answer = await graph.ainvoke(news, context=WithBrain(brain=Brain(Settings())))
    assert answer["turn"] == 1 and sorted(answer["readings"]) == NAMES and answer["decision_id"] is None
    assert list(home.iterdir()) == []


async def test_a_brain_that_is_switched_off_sees_nothing(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAIN_ENABLED", "false")
    answer = await create_shadow_workflow().ainvoke(
        {"conversation_id": "c1", "messages": [said("hello")]}, context=WithBrain(brain=Brain(Settings()))
    )
    assert answer["turn"] is None and answer["readings"] == {} and list(home.iterdir()) == []


@pytest.mark.parametrize("durability", ["sync", "async", "exit", None])
async def test_one_checkpoint_a_run_whatever_the_caller_wants(shadow: Shadow, durability: Any) -> None:
    for number in range(3):
        async with open_checkpointer() as saver:
            graph = create_shadow_workflow(checkpointer=saver)
            news = {"messages": [said(f"turn {number}")]}
            await graph.ainvoke(news, config("t1"), context=WithBrain(brain=shadow.brain), durability=durability)
    with sqlite3.connect("brain_gym.db") as gym:
        assert gym.execute("SELECT count(*) FROM checkpoints").fetchone() == (3,)


async def test_a_decision_finds_its_checkpoint(shadow: Shadow) -> None:
    for number in range(3):
        await shadow.post(messages=[said(f"turn {number}")])
    row = shadow.row(1)
    async with open_checkpointer() as saver:
        graph = create_shadow_workflow(checkpointer=saver)
        found = [s async for s in graph.aget_state_history(config(row.thread_id), filter={"run_id": row.run_id})]
    assert [state.values["decision_id"] for state in found] == [row.decision_id]
    assert found[0].values["readings"] == row.readings


async def test_the_state_holds_plain_data_and_every_update_is_declared(shadow: Shadow) -> None:
    declared = set(ShadowState.__annotations__) | set(ShadowState.__mro__[0].__annotations__)
    async with open_checkpointer() as saver:
        graph = create_shadow_workflow(checkpointer=saver)
        news = {"messages": [said("hello")]}
        async for update in graph.astream(
            news, config("t1"), context=WithBrain(brain=shadow.brain), stream_mode="updates"
        ):
            for node, values in update.items():
                assert set(values or {}) <= declared, node
        state = (await graph.aget_state(config("t1"))).values
    assert all(isinstance(v, str | int | list | dict | None) for v in state.values())
    assert "history" not in state


def host_app(observe: Any = None) -> Any:
    """A host's own graph; its answer must not change when it has a shadow."""

    async def bot(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"you said {state['messages'][-1].text}", id="bot")]}

    graph = StateGraph(MessagesState)
    graph.add_node("bot", bot)
    graph.add_edge(START, "bot")
    if observe is not None:
        graph.add_node("shadow", observe)
        graph.add_edge("bot", "shadow")
    return graph.compile()


async def test_inside_a_host_the_messages_stay_as_they_are(home: Any) -> None:
    news = {"messages": [HumanMessage("hello", id="m1")]}
    plain = await host_app().ainvoke(news, config("t1"))
    watched = await host_app(create_shadow_workflow()).ainvoke({**news}, config("t1"))
    assert watched["messages"] == plain["messages"]


async def test_a_run_is_not_traced_whatever_the_host_exports(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from langsmith import utils
    from langsmith.run_helpers import get_tracing_context

    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:9")
    utils.get_env_var.cache_clear()
    seen = []
    working = faculty_file.read

    async def read(faculty: Any, state: Any, runtime: Any) -> Any:
        seen.append(get_tracing_context()["enabled"])
        return await working(faculty, state, runtime)

    monkeypatch.setattr("understudy.nodes.conflict.read", read)
    graph = create_shadow_workflow()
    async for _ in graph.astream({"conversation_id": "c1", "messages": [said("hello")]}):
        assert get_tracing_context()["enabled"] is None
    utils.get_env_var.cache_clear()
    assert seen == [False]


def test_the_drawing_is_the_one_in_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    drawing = create_shadow_workflow().get_graph().draw_mermaid().split("graph TD;")[1].split("classDef")[0]
    assert drawing.strip() in readme
