r"""The dream graph: real conversations told anew and invented customers, for training only.

START -> recall -> generate -> screen -> store -> END
             \        ^          |         ^
              \       +----------+         |       what was of no use is dreamt anew, three times at most
               +---------------------------+       too little to dream of

It is checkpointed after every step, so that a killed cycle goes on where it was.
"""

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph

from understudy.checkpoints.saver import UntracedGraph, untraced
from understudy.nodes.generate import generate
from understudy.nodes.recall import recall
from understudy.nodes.screen import screen, what_is_left
from understudy.nodes.store import store
from understudy.state import Context, DreamInput, DreamOutput, DreamState


def build() -> StateGraph[DreamState, Context, DreamInput, DreamOutput]:
    """Draw the graph anew."""
    graph = StateGraph(DreamState, context_schema=Context, input_schema=DreamInput, output_schema=DreamOutput)
    graph.add_node("recall", recall, destinations=("generate", "store"))
    graph.add_node("generate", generate)
    graph.add_node("screen", screen)
    graph.add_node("store", store)
    graph.add_edge(START, "recall")
    graph.add_edge("generate", "screen")
    graph.add_conditional_edges("screen", what_is_left, ["generate", "store"])
    graph.add_edge("store", END)
    return graph


def create_dream_workflow(*, checkpointer: BaseCheckpointSaver[Any] | None = None) -> UntracedGraph:
    """Return the dream graph, ready to be invoked with `ainvoke`.

    Args:
        checkpointer: where LangGraph's checkpoints go; without one a killed cycle begins again.
    """
    compiled = build().compile(checkpointer=checkpointer, name="dream")
    compiled.config = {**(compiled.config or {}), "recursion_limit": 20_000}
    return untraced(compiled)


graph = create_dream_workflow()
