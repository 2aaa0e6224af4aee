"""A host's own graph with a shadow beside it: whatever it streams, nothing of ours is in it."""

import asyncio
import contextvars
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.shadow import create_shadow_workflow
from understudy.nodes.ab_life import begin
from understudy.nodes.brain import Brain, WithBrain
from understudy.nodes.modules import PROGRAMS
from understudy.settings import Settings
from understudy.tests.ollama.server import OllamaServer

MODES = ["values", "updates", "messages", "custom", "tasks", "checkpoints", "debug"]
CONFIG: Any = {"configurable": {"thread_id": "t1"}}
Observe = Callable[[str], None]


def host(observe: Observe) -> Any:
    """A bot that streams its answer from a model of its own, and shows the understudy what was said."""
    model = GenericFakeChatModel(messages=iter([AIMessage("You said hello to me", id="bot")]))

    async def bot(state: MessagesState) -> dict[str, Any]:
        observe(state["messages"][-1].text)
        await asyncio.sleep(0.15)
        return {"messages": [await model.ainvoke(state["messages"])]}

    inner = StateGraph(MessagesState)
    inner.add_node("bot", bot)
    inner.add_edge(START, "bot")
    outer = StateGraph(MessagesState)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    return outer.compile(checkpointer=InMemorySaver())


async def everything(observe: Observe) -> dict[str, list[str]]:
    """Return all that a host can stream, mode by mode, without ids and times that differ from run to run."""
    news = {"messages": [HumanMessage("hello", id="m1")]}
    found: dict[str, list[str]] = {}
    for mode in MODES:
        stream = host(observe).astream(news, CONFIG, stream_mode=mode, subgraphs=True)
        found[mode] = [plain(part) async for part in stream]
    events: AsyncIterator[Any] = host(observe).astream_events(news, CONFIG, version="v2")
    found["events"] = [plain((event["event"], event["name"], event["tags"])) async for event in events]
    graph = host(observe)
    found["invoke"] = [plain(await graph.ainvoke(news, CONFIG))]
    found["history"] = [plain(state.values) async for state in graph.aget_state_history(CONFIG)]
    return found


def plain(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, default=lambda other: type(other).__name__)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            str(k): _plain(v) for k, v in value.items() if not str(k).endswith(("id", "ts", "timestamp", "_ns", "map"))
        }
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        return value.partition(":")[0] if value.count("-") == 4 else value
    return str(value.text) if hasattr(value, "text") else value


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "with A/B tests and a personal touch"])
async def test_nothing_of_ours_is_in_any_stream_of_a_host(ollama: OllamaServer, beside: bool) -> None:
    alone = await everything(lambda text: None)
    brain, tasks = Brain(Settings(personalize_enabled=beside)), set()
    sent = AIMessage("You said hello to me, and I will not forget it.", id="sent")
    for module in PROGRAMS if beside else ():
        begin(brain, "default", module, "v0.0", "v0.0")
    async with open_checkpointer() as saver:
        shadow = create_shadow_workflow(checkpointer=saver)

        def observe(text: str) -> None:
            # A conversation of its own for each: two runs that overlap in one would both read the turn that waits.
            thread: Any = {"configurable": {"thread_id": f"shadow-{len(tasks)}"}}
            news: Any = {"messages": [HumanMessage(text), sent]}
            run = shadow.ainvoke(news, thread, context=WithBrain(brain=brain))
            tasks.add(asyncio.get_running_loop().create_task(run, context=contextvars.Context()))

        watched = await everything(observe)
        await asyncio.gather(*tasks)
    assert watched == alone
    assert brain.gym is not None and brain.gym.counts()["decisions"] == len(tasks) == len(MODES) + 2
    calls = 5 + (2 * len(PROGRAMS) + 1 if beside else 0)
    assert len([seen for seen in ollama.requests if seen.path == "/api/chat"]) == calls * len(tasks)
    for row in brain.gym.suggestions(None, None, 100):
        assert row["original_message"] == sent.text == brain.gym.decision(row["conversation_id"], 0).response_sent
    assert len(brain.gym.suggestions(None, None, 100)) == beside * len(tasks)
    assert brain.gym.count("SELECT count(*) FROM ab_results") == beside * len(PROGRAMS) * len(tasks)
    brain.gym.close()


async def test_not_even_tokens_when_the_host_waits_for_the_shadow_in_its_own_context(ollama: OllamaServer) -> None:
    brain = Brain(Settings())
    shadow = create_shadow_workflow()

    async def node(state: MessagesState) -> dict[str, Any]:
        await shadow.ainvoke({"conversation_id": "c", "messages": state["messages"]}, context=WithBrain(brain=brain))
        return {}

    graph = StateGraph(MessagesState)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    news = {"messages": [HumanMessage("hello", id="m1")]}
    stream = graph.compile().astream(news, stream_mode="messages", subgraphs=True)
    assert [part async for part in stream] == []
    assert len([seen for seen in ollama.requests if seen.path == "/api/chat"]) == 5
    assert brain.gym is not None
    brain.gym.close()
