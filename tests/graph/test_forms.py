"""The forms that Studio draws: a changed one is then a reviewed change."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from understudy.graph import dream, optimization, shadow
from understudy.intake import InputError, UnderstudyError
from understudy.nodes.modules import PROGRAMS
from understudy.state import MODULE_NAMES, Context

GRAPHS = {"shadow": shadow.graph, "optimization": optimization.graph, "dream": dream.graph}

FORMS = {
    "shadow": """
        What is new in one conversation; nothing new is no error.
        messages: Messages, array, LangGraph's messages: the human is the customer, the AI is the agent.
            An agent's action goes into additional_kwargs.action.
        conversation_id: Conversation, string, Empty takes the thread's id.
        state: State, object, What the host knows at this turn.
        customer: Customer, object, Who is speaking.
        outcome: Outcome, workflow_outcome (success failure abandoned) user_satisfaction (number 0..1),
            How it ended; closes the conversation.
        label: Label, turn (integer from 0) fields (object) author (string),
            What a reviewer says is true of one turn; turns count from 0.
        again: Read a turn again, integer from 0, Number of a turn of this conversation, from 0.
            It is read with the versions of the context; nothing is recorded. Nothing else may be posted with it.
    """,
    "optimization": """
        What an optimisation may be told; empty takes everything of BRAIN_PROFILE.
        profile: Profile, string, Empty takes the context's, or BRAIN_PROFILE.
        modules: Modules, array of conflict intent quality goals response personalize, Empty takes all but personalize.
        newest: Newest, integer from 1, How many decisions are considered, newest first; empty: 6000.
        run_id: Run, string, Name of the run; empty gives it one.
    """,
    "dream": """
        What a dream cycle may be told; empty takes BRAIN_PROFILE and DREAM_COUNT.
        profile: Profile, string, Empty takes the context's, or BRAIN_PROFILE.
        count: Dreams, integer 1..5000, How many are wanted; empty takes DREAM_COUNT.
        cycle: Cycle, string, Name of the cycle; empty gives it one.
    """,
}

CONTEXT = """
    What one run may choose.
    profile: Profile, string, Name of a profile, for a conversation that begins or a job; empty takes BRAIN_PROFILE.
    use_optimized: Use optimised modules, boolean, Off reads turns with the hand-written baselines, v0.0.
    versions: Versions, object of conflict intent quality goals response personalize,
        Read turns with these versions of single modules.
"""


def kind(field: dict[str, Any]) -> str:
    """What may be filled in, in words."""
    field = {**field, **next((one for one in field.get("anyOf", []) if one["type"] != "null"), {})}
    if "properties" in field:
        return " ".join(f"{name} ({kind(one)})" for name, one in field["properties"].items())
    closed = field.get("items", field.get("propertyNames", {})).get("enum")
    if "enum" in field or closed:
        return f"{field['type']} of {' '.join(closed)}" if closed else " ".join(field["enum"])
    low, high = field.get("minimum"), field.get("maximum")
    bounds = "" if low is None else f" from {low}" if high is None else f" {low}..{high}"
    return str(field["type"]) + bounds


def form(schema: dict[str, Any]) -> list[str]:
    """The words of a form."""
    fields = schema["properties"].items()
    told = [f"{name}: {field['title']}, {kind(field)}, {field['description']}" for name, field in fields]
    return " ".join([schema["description"], *told]).split()


@pytest.mark.parametrize("name", GRAPHS)
def test_the_forms_are_the_reviewed_ones(name: str) -> None:
    posted, context = GRAPHS[name].get_input_jsonschema(), GRAPHS[name].get_context_jsonschema()
    assert form(posted) == FORMS[name].split() and form(context) == CONTEXT.split()
    assert "required" not in posted and "required" not in context
    with_examples = [field for field, told in posted["properties"].items() if told.get("examples")]
    assert set(posted["properties"]) - set(with_examples) <= {"newest"}
    said = GRAPHS[name].get_output_jsonschema()["properties"]
    assert all("title" in field for field in said.values())


@pytest.mark.parametrize("name", GRAPHS)
async def test_a_drawing_has_steps_alone(name: str) -> None:
    for drawn in (GRAPHS[name].get_graph(), await GRAPHS[name].aget_graph(xray=True)):
        reached = {edge.source for edge in drawn.edges} | {edge.target for edge in drawn.edges}
        assert set(drawn.nodes) == reached and not [node for node in reached if "handler" in node]


def test_the_names_in_the_forms_are_those_of_the_registry() -> None:
    assert list(MODULE_NAMES) == list(PROGRAMS)


@pytest.mark.parametrize(
    ("posted", "field"),
    [
        ({"profile": 5}, "profile"),
        ({"use_optimized": "false"}, "use_optimized"),
        ({"use_optimized": None}, "use_optimized"),
        ({"versions": "v0.0"}, "versions"),
        ({"versions": None}, "versions"),
        ({"versions": {"intent": 3}}, "versions"),
        ({"versions": {"mood": "v0.0"}}, "versions: there are the modules conflict, intent"),
    ],
)
def test_a_context_of_the_wrong_shape_names_the_field(posted: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=f"^context.{field}"):
        Context(**posted)


@pytest.mark.parametrize(
    ("graph", "posted", "outcome"),
    [
        ("shadow", {"input": {}}, "None"),
        ("shadow", {"input": {"messages": [], "conversation_id": "", "state": {}, "outcome": None}}, "None"),
        ("optimization", {"input": {}}, "examples in train; 20 are needed"),
        ("optimization", {"input": {"profile": "", "modules": [], "newest": None, "run_id": ""}}, "are needed"),
        ("dream", {"input": {}}, "closed conversations; 50 are needed"),
        ("dream", {"input": {"profile": "", "count": None, "cycle": ""}}, "50 are needed"),
        ("dream", {"input": {}, "context": {"profile": "star"}}, "0 closed conversations; 50 are needed"),
        ("optimization", {"input": {}, "context": {"profile": "/etc/passwd"}}, "no profile '/etc/passwd'; there are"),
        ("optimization", {"input": {"profile": 7}}, "no profile '7'; there are"),
        ("optimization", {"input": {"modules": "intent"}}, "modules: must be a list"),
        ("optimization", {"input": {"modules": ["mood"]}}, "modules: no module 'mood'; there are conflict"),
        ("optimization", {"input": {"newest": -1}}, "newest: must be a whole number"),
        ("optimization", {"input": {"run_id": 7}}, "run_id: must be text"),
        ("dream", {"input": {"cycle": 7}}, "cycle: must be text"),
        ("dream", {"input": {"count": "many"}}, "count: must be a whole number from 1 to 5,000; got 'many'"),
        ("shadow", {"input": {}, "context": {"versions": {"mood": "v0.0"}}}, "context.versions: there are the modules"),
    ],
)
async def test_an_empty_form_is_no_error_and_a_wrong_one_says_what_is_wrong(
    home: Path, graph: str, posted: dict[str, Any], outcome: str
) -> None:
    config = {"configurable": {"thread_id": str(uuid4())}}
    try:
        answer = await GRAPHS[graph].ainvoke(posted["input"], config, context=posted.get("context"))
        line = str(answer["report"]["reason"] if "report" in answer else answer["turn"])
    except UnderstudyError as error:
        line = str(error)
    assert outcome in line and "\n" not in line
