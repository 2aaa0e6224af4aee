r"""The optimisation graph: from evidence to better instructions, proved before they are used.

START -> dataset -> compile -> evaluate -> publish -> conclude -> END
              \      ^    \                            |  ^
               \     +-----\---------------------------+  |       `response`, when the readers are done
                \           +-----------------------------+       no better instruction was found
                 +----------------------------------------+       nothing to learn from

`compile`, `evaluate` and `publish` run once for each module, the readers side by side. A module that fails is noted,
and the others go on. The graph is checkpointed after every step, so that a killed run goes on where it was.
"""

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph

from understudy.checkpoints.saver import UntracedGraph, untraced
from understudy.nodes.compile import compile_module
from understudy.nodes.evaluate import evaluate_module
from understudy.nodes.job import Job, note_error
from understudy.nodes.publish import publish_module
from understudy.nodes.run import begin, conclude
from understudy.state import Context, OptimizationInput, OptimizationOutput, OptimizationState


def build() -> StateGraph[OptimizationState, Context, OptimizationInput, OptimizationOutput]:
    """Draw the graph anew."""
    graph = StateGraph(
        OptimizationState, context_schema=Context, input_schema=OptimizationInput, output_schema=OptimizationOutput
    )
    one: dict[str, Any] = {"input_schema": Job, "error_handler": note_error}
    graph.add_node("dataset", begin, destinations=("compile", "conclude"))
    graph.add_node("compile", compile_module, destinations=("evaluate", "conclude"), **one)
    graph.add_node("evaluate", evaluate_module, destinations=("publish",), **one)
    graph.add_node("publish", publish_module, destinations=("conclude",), **one)
    graph.add_node("conclude", conclude, destinations=("compile",))
    graph.add_edge(START, "dataset")
    return graph


def create_optimization_workflow(*, checkpointer: BaseCheckpointSaver[Any] | None = None) -> UntracedGraph:
    """Return the optimisation graph, ready to be invoked with `ainvoke`.

    Args:
        checkpointer: where LangGraph's checkpoints go; without one a killed run begins again.
    """
    return untraced(build().compile(checkpointer=checkpointer, name="optimization"))


graph = create_optimization_workflow()
