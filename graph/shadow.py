r"""The shadow graph: what the understudy sees in a turn, written down and never sent.

START -> load -> { conflict, intent, quality, goals } -> response -> record -> ...      a customer message
             \-> record -> { personalize?, ab_test? } -> END                            a reply, an outcome, a label
             \-> END                                                                    nothing new

A module that fails leaves a fault, and the turn goes on without it. What is only logged beside the turn comes after its
row, so that it can neither delay nor fail it: a personal touch to the reply that production sent, and the second
version of a module under test. Then it goes back to `load` while more turns of the conversation wait.
"""

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph

from understudy.checkpoints.saver import OneCheckpointGraph, save_once
from understudy.lm.roles import patience
from understudy.nodes.ab_test import ab_test
from understudy.nodes.faculty import note_fault, note_response_fault
from understudy.nodes.load import load, load_baselines, next_steps
from understudy.nodes.modules import PROPOSER, READERS
from understudy.nodes.personalize import personalize
from understudy.nodes.record import note_lost, record, what_follows, what_waits
from understudy.settings import current_settings
from understudy.state import Context, ShadowInput, ShadowOutput, ShadowState


def build(use_optimized: bool = True) -> StateGraph[ShadowState, Context, ShadowInput, ShadowOutput]:
    """Draw the graph anew; a model's own failures have been tried again before they get here."""
    graph = StateGraph(ShadowState, context_schema=Context, input_schema=ShadowInput, output_schema=ShadowOutput)
    reading: dict[str, Any] = {"timeout": patience(current_settings())}
    twice: dict[str, Any] = {"timeout": 2 * patience(current_settings())}
    proposer, propose = PROPOSER
    readers = [faculty.name for faculty in READERS]

    graph.add_node("load", load if use_optimized else load_baselines)
    for faculty, node in READERS.items():
        graph.add_node(faculty.name, node, error_handler=note_fault, destinations=(proposer.name,), **reading)
        graph.add_edge(faculty.name, proposer.name)
    graph.add_node(proposer.name, propose, error_handler=note_response_fault, destinations=("record",), **reading)
    graph.add_node("record", record)
    graph.add_node("personalize", personalize, error_handler=note_lost, **reading)
    graph.add_node("ab_test", ab_test, error_handler=note_lost, **twice)

    graph.add_edge(START, "load")
    graph.add_conditional_edges("load", next_steps, [*readers, "record", END])
    graph.add_edge(proposer.name, "record")
    graph.add_conditional_edges("record", what_follows, ["personalize", "ab_test", "load", END])
    graph.add_conditional_edges("personalize", what_waits, ["load", END])
    graph.add_conditional_edges("ab_test", what_waits, ["load", END])
    return graph


def create_shadow_workflow(
    use_optimized: bool = True, *, checkpointer: BaseCheckpointSaver[Any] | None = None
) -> OneCheckpointGraph:
    """Return the shadow graph, ready to be invoked with `ainvoke`.

    Args:
        use_optimized: False runs the hand-written baselines, v0.0, whatever has been published.
        checkpointer: where LangGraph's checkpoints go; `open_checkpointer()` puts them into the gym.
    """
    return save_once(build(use_optimized).compile(checkpointer=checkpointer, name="shadow"))


graph = create_shadow_workflow()
