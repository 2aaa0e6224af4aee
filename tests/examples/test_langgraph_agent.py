"""A LangGraph agent with the understudy beside it: nothing of ours is in what it streams, unless that is wanted."""

import asyncio
import contextvars
import json
import re
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.constants import TAG_HIDDEN
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from pydantic import BaseModel

from understudy import InputError, Settings, Understudy, observe_node
from understudy.examples.langgraph_agent import agent as example

MODES = ["values", "updates", "messages", "custom", "tasks", "checkpoints", "debug"]
TOLD = {"checkpoints", "debug", "events v2", "callbacks", "history"}
"""What tells that a graph has a node more, whatever the node does."""

TALK = ["can you do friday?", "at two"]
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.+Z]+|(?<=\"timestamp\": )\d+")
Host = Callable[[], Any]


@pytest.fixture
def app(home: Path) -> Iterator[Understudy]:
    with Understudy(Settings(), worker=True) as app:
        yield app


def rows(sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect("brain_gym.db")) as gym:
        return gym.execute(sql).fetchall()


async def until(sql: str) -> None:
    for _ in range(600):
        if rows(sql):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it does not come")


def alone() -> Any:
    return example.agent().compile(checkpointer=InMemorySaver())


def with_an_empty_node() -> Any:
    graph = example.agent()
    graph.add_node("observe", lambda state: None)
    graph.add_edge("answer", "observe")
    compiled = graph.compile(checkpointer=InMemorySaver())
    compiled.nodes["observe"].tags = [TAG_HIDDEN]
    return compiled


def written(value: Any) -> str:
    """All of it as JSON; ids become numbers in their order, so that two runs can be compared."""

    def other(value: Any) -> Any:
        return dumpd(value) if hasattr(value, "lc_serializable") else [str(type(value)), getattr(value, "__dict__", 0)]

    found: dict[str, str] = {}
    text = TIME.sub("then", json.dumps(value, default=other))
    return ID.sub(lambda match: found.setdefault(match[0], f"#{len(found)}"), text)


def unnumbered(text: str) -> str:
    """Without the numbers of steps: a node more in the first turn is a step more in the second."""
    return re.sub(r'(?<="langgraph_step": )\d+', "some", text)


class Ears(BaseCallbackHandler):
    """Notes what a host's callbacks are told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_chain_start(self, serialized: Any, inputs: Any, **more: Any) -> None:
        self.heard.append(["start", more["name"], more["tags"], inputs])

    def on_chain_end(self, outputs: Any, **more: Any) -> None:
        self.heard.append(["end", outputs])

    def on_chat_model_start(self, serialized: Any, messages: Any, **more: Any) -> None:
        self.heard.append(["model", messages])

    def on_llm_new_token(self, token: str, **more: Any) -> None:
        self.heard.append(["token", token])


def talk(thread: str) -> Iterator[tuple[Any, Any]]:
    """What is posted, turn by turn, and with which config."""
    for i, text in enumerate(TALK):
        yield {"messages": [HumanMessage(text, id=f"m{i}")]}, {"configurable": {"thread_id": thread}}


async def everything(host: Host) -> dict[str, str]:
    """All that a host can see of two turns of its agent, by `astream`, `stream`, events, callbacks and its saver."""
    found: dict[str, str] = {}
    for mode in MODES:
        graph = host()
        parts = [p for news, at in talk(mode) async for p in graph.astream(news, at, stream_mode=mode, subgraphs=True)]
        found[mode] = written(parts)
        assert len(parts) > 1 or mode == "custom"
        graph = host()
        parts = [part for news, at in talk(f"{mode} again") for part in graph.stream(news, at, stream_mode=mode)]
        found[f"{mode}, sync"] = written(parts)
    for version in ("v2", "v3"):
        graph, events = host(), list[Any]()
        for news, at in talk(version):
            with warnings.catch_warnings(action="ignore"):
                stream = graph.astream_events(news, at, version=version)
                async for event in stream if version == "v2" else await stream:
                    events.append(event)
        assert len(events) > 10
        found[f"events {version}"] = written(events)
    graph, ears = host(), Ears()
    found["invoke"] = written([await graph.ainvoke(news, {**at, "callbacks": [ears]}) for news, at in talk("a")])
    again = host()
    found["invoke, sync"] = written([again.invoke(news, at) for news, at in talk("b")])
    found["callbacks"] = written(ears.heard)
    found["history"] = written([[s.values, s.next, s.metadata] for s in graph.get_state_history(at_of("a"))])
    found["saver"] = str(len(list(graph.checkpointer.list(None))))
    return found


def at_of(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


async def test_isolated_nothing_of_ours_is_in_what_a_host_sees(app: Understudy) -> None:
    before, empty = await everything(alone), await everything(with_an_empty_node)
    watched = await everything(lambda: example.isolated(app, checkpointer=InMemorySaver()))
    assert watched == empty, "more than the node itself can be seen"
    differing = {
        name.removesuffix(", sync") for name in before if unnumbered(watched[name]) != unnumbered(before[name])
    }
    assert differing == TOLD | {"saver"}
    assert int(watched["saver"]) == int(before["saver"]) + len(TALK)
    await until("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM events WHERE processed_at IS NULL)")
    decided = rows("SELECT conversation_id, count(*) FROM brain_decisions GROUP BY 1")
    assert len(decided) == 2 * len(MODES) + 4 and {count for _, count in decided} == {len(TALK)}
    assert app.losses == {}


@pytest.mark.parametrize("hindrance", ["no folder", "no gym", "switched off"])
async def test_a_host_is_the_same_when_nothing_can_be_written(home: Path, hindrance: str) -> None:
    settings: dict[str, dict[str, Any]] = {
        "no folder": {"rl_gym_db_path": home / "file" / "brain_gym.db"},
        "no gym": {"rl_gym_db_path": home},
        "switched off": {"brain_enabled": False},
    }
    (home / "file").touch()
    with Understudy(Settings(**settings[hindrance])) as app:
        watched = await everything(lambda: example.isolated(app, checkpointer=InMemorySaver()))
        turns = len(TALK) * (2 * len(MODES) + 4)
        assert app.losses == ({} if hindrance == "switched off" else {"unusable": turns})
    assert watched == await everything(with_an_empty_node) and not (home / "brain_gym.db").exists()


async def test_the_worker_s_context_is_empty_also_when_it_begins_inside_a_host_s_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from understudy import worker

    secret = contextvars.ContextVar("secret", default="none")
    seen: list[Any] = []
    opened, begun = worker.open_inbox, list[Understudy]()

    def look(*args: Any) -> Any:
        seen.append(dict(contextvars.copy_context()))
        return opened(*args)

    def begin(state: Any) -> None:
        assert len(contextvars.copy_context()) > 1
        begun.append(Understudy(Settings(), worker=True))

    monkeypatch.setattr(worker, "open_inbox", look)
    secret.set("of the host")
    graph = example.agent()
    graph.add_node("begin", begin)
    graph.add_edge("answer", "begin")
    await graph.compile().ainvoke({"messages": [HumanMessage("friday?")]}, {"callbacks": [Ears()]})
    begun[0].observe("c1", "hello")
    await until("SELECT 1 FROM brain_decisions")
    begun[0].close()
    assert seen == [{}]


def test_what_is_said_gets_into_the_log_once_and_in_order(home: Path) -> None:
    call = AIMessage("", id="a1", tool_calls=[{"name": "look_up", "args": {}, "id": "t1"}])
    chat = [
        SystemMessage("be kind", id="s1"), HumanMessage("friday?", id="h1"), call,
        ToolMessage("free", tool_call_id="t1", id="t1"),
        AIMessage([{"type": "text", "text": "At nine."}], id="a2", additional_kwargs={"action": "offer_times"}),
        HumanMessage("two", id="h2"), HumanMessage("no, nine", id="h3"),
        AIMessage("", id="a3", additional_kwargs={"action": "confirm_booking"}),
    ]  # fmt: skip
    with Understudy(Settings()) as app:
        node = observe_node(app)
        node({"messages": chat[:5]}, {"configurable": {"thread_id": 7}})
        for _ in range(2):
            node({"messages": chat}, {"configurable": {"thread_id": 7}})
        assert app.observe_messages("7", chat) and app.losses == {}
    assert rows("SELECT conversation_id, turn, kind, message_id, text, action FROM events ORDER BY seq") == [
        ("7", 0, "customer_message", "h1", "friday?", None),
        ("7", 0, "agent_message", "a2", "At nine.", "offer_times"),
        ("7", 1, "customer_message", "h2", "two", None),
        ("7", 2, "customer_message", "h3", "no, nine", None),
        ("7", 2, "agent_message", "a3", "", "confirm_booking"),
    ]


async def test_the_messages_can_be_shown_outside_a_graph_as_well(home: Path) -> None:
    async with Understudy(Settings()) as app:
        graph = alone()
        for news, at in talk("c1"):
            answer = await graph.ainvoke(news, at)
            assert await app.aobserve_messages("c1", answer["messages"])
    assert rows("SELECT text FROM events ORDER BY seq") == [
        (TALK[0],), (example.ANSWERS["friday"],), (TALK[1],), (example.ANSWERS["two"],),
    ]  # fmt: skip


@dataclass
class Data:
    messages: Annotated[list[Any], add_messages] = field(default_factory=list)


class Model(BaseModel):
    messages: Annotated[list[Any], add_messages] = []


@pytest.mark.parametrize("kind", [Data, Model])
def test_a_host_s_state_may_be_an_object(home: Path, kind: Any) -> None:
    with Understudy(Settings()) as app:
        graph = StateGraph(kind)
        graph.add_node("observe", observe_node(app))
        graph.add_edge(START, "observe")
        graph.compile().invoke({"messages": [HumanMessage("hello")]}, at_of("c1"))
    assert rows("SELECT conversation_id, text FROM events") == [("c1", "hello")]


SPOKEN = {"messages": [HumanMessage("SECRET", id="h1")]}
WRONG: dict[str, tuple[Any, Any]] = {
    "no thread": (SPOKEN, {}),
    "a huge thread": (SPOKEN, at_of("t" * 201)),
    "no messages": ({"SECRET": 1}, at_of("c1")),
    "a text": ({"messages": "SECRET"}, at_of("c1")),
    "plain tables": ({"messages": [{"role": "user", "content": "SECRET", "id": "h1"}]}, at_of("c1")),
    "no id": ({"messages": [HumanMessage("SECRET")]}, at_of("c1")),
    "a huge id": ({"messages": [HumanMessage("SECRET", id="h" * 1001)]}, at_of("c1")),
}


@pytest.mark.parametrize(("state", "config"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_written_is_counted_and_never_raises(
    home: Path, caplog: pytest.LogCaptureFixture, state: Any, config: Any
) -> None:
    with Understudy(Settings()) as app:
        observe_node(app)(state, config)
        assert app.losses == {"refused": 1} and rows("SELECT * FROM events") == []
    (line,) = caplog.messages
    assert "refused: " in line and "SECRET" not in line
    with Understudy(Settings(brain_strict=True)) as strict, pytest.raises(InputError):
        observe_node(strict)(state, config)


async def test_in_the_open_the_shadow_is_seen_where_subgraphs_are_and_the_answer_is_the_same(home: Path) -> None:
    async def shown(graph: Any, mode: str, **options: Any) -> list[Any]:
        thread = f"{mode} {options}"
        news = [graph.astream(news, at, stream_mode=mode, **options) for news, at in talk(thread)]
        return [part for stream in news async for part in stream]

    for mode in MODES:
        mine, theirs = example.in_the_open(checkpointer=InMemorySaver()), alone()
        places = {place[0].partition(":")[0] for place, _ in await shown(mine, mode, subgraphs=True) if place}
        assert places == (set() if mode in ("messages", "custom") else {"shadow"}), mode
        if mode in ("values", "messages"):
            again = await shown(example.in_the_open(checkpointer=InMemorySaver()), mode)
            assert unnumbered(written(again)) == unnumbered(written(await shown(theirs, mode)))
        saved = [one.config["configurable"]["checkpoint_ns"] for one in mine.checkpointer.list(None)]
        assert saved.count("") == 4 * len(TALK) and len(set(saved) - {""}) == len(TALK)
    assert rows("SELECT DISTINCT turn, response_sent FROM brain_decisions") == [
        (0, example.ANSWERS["friday"]), (1, example.ANSWERS["two"]),
    ]  # fmt: skip


@pytest.mark.parametrize("options", [[], ["--open"]])
def test_the_example_runs(home: Path, options: list[str]) -> None:
    command = [sys.executable, example.__file__, *options]
    ran = subprocess.run(command, input="\n".join(TALK), capture_output=True, text=True)
    assert ran.stdout.splitlines() == [example.ANSWERS["friday"], example.ANSWERS["two"]], ran.stderr
    assert ("shadow: record" in ran.stderr) == bool(options)
    assert rows("SELECT count(*) FROM events") == [(4,)]
