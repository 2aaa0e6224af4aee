"""A LangGraph agent with the understudy beside it, in two ways.

    python examples/langgraph_agent/agent.py            # isolated: a node that writes what is said to the gym's log
    python examples/langgraph_agent/agent.py --open     # the shadow as a subgraph, for those who want to see it

Type, or pipe lines to it; what the agent says goes to stdout. README.md says what each way shows.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.constants import TAG_HIDDEN
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from understudy import Understudy, create_shadow_workflow, observe_node

ANSWERS = {
    "price": "A full clean is 149, inside and out.",
    "friday": "Friday is free at nine and at two. Which suits you?",
    "two": "Two it is. See you on Friday.",
}


class Clerk(BaseChatModel):
    """Stands for the model of your agent: it says what the last message has a word for, word by word."""

    @property
    def _llm_type(self) -> str:
        return "clerk"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.answer(messages)))])

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for word in re.findall(r"\s*\S+", self.answer(messages)):
            yield ChatGenerationChunk(message=AIMessageChunk(word))

    def answer(self, messages: list[BaseMessage]) -> str:
        """Return the answer."""
        asked = str(messages[-1].text).lower()
        return next((answer for word, answer in ANSWERS.items() if word in asked), "How can I help?")


def agent() -> StateGraph[MessagesState]:
    """Draw the agent as it was before there was an understudy."""
    clerk = Clerk()
    graph = StateGraph(MessagesState)
    graph.add_node("answer", lambda state: {"messages": [clerk.invoke(state["messages"])]})
    graph.add_edge(START, "answer")
    return graph


def isolated(app: Understudy, **options: Any) -> CompiledStateGraph[MessagesState]:
    """Return the agent with a node that shows `app` what is said; the shadow runs elsewhere."""
    graph = agent()
    graph.add_node("observe", observe_node(app))
    graph.add_edge("answer", "observe")
    compiled = graph.compile(**options)
    compiled.nodes["observe"].tags = [TAG_HIDDEN]
    return compiled


def in_the_open(**options: Any) -> CompiledStateGraph[MessagesState]:
    """Return the agent with the shadow as a subgraph: the run waits for it, and its streams show it."""
    graph = agent()
    graph.add_node("shadow", create_shadow_workflow())
    graph.add_edge("answer", "shadow")
    return graph.compile(**options)


graph = in_the_open()


async def talk(host: CompiledStateGraph[MessagesState]) -> None:
    """Answer what comes on stdin, a line at a time; what else the host's stream shows goes to stderr."""
    config: Any = {"configurable": {"thread_id": str(uuid4())}}
    for line in sys.stdin:
        news: Any = {"messages": [{"role": "user", "content": line.strip()}]}
        modes: Any = ["messages", "updates"]
        async for place, mode, part in host.astream(news, config, stream_mode=modes, subgraphs=True):
            if mode == "messages":
                print(part[0].text, end="", flush=True)
            elif place:
                print(f"  {place[0].partition(':')[0]}: {', '.join(part)}", file=sys.stderr)
        print()


def main() -> None:
    """Talk, one way or the other."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--open", action="store_true", help="the shadow as a subgraph")
    if options.parse_args().open:
        asyncio.run(talk(in_the_open(checkpointer=InMemorySaver())))
        return
    with Understudy(worker=True) as app:
        asyncio.run(talk(isolated(app, checkpointer=InMemorySaver())))


if __name__ == "__main__":
    main()
