"""The signatures of the five modules carry the profile's labels, meanings and bounds; a turn becomes an example."""

from typing import Any, get_args, get_origin

import pytest
from pydantic import ValidationError

from understudy.events import BrainDecision, Line
from understudy.lm.adapter import answer_model
from understudy.nodes.modules import MODULES
from understudy.profile import Profile, bundled, load_profile

DEFAULT = load_profile("default")
BARE = Profile.model_validate({"name": "bare", "intents": {"sale": {}, "repair": {}}})
FIELDS = {
    "conflict": {"conflict_type", "confidence", "reasoning"},
    "intent": {"intent", "next_step", "confidence"},
    "quality": {"quality_score", "user_satisfaction", "completeness", "issues", "suggestions", "confidence"},
    "goals": {"main_goal", "sub_goals", "required_info"},
    "response": {"proposed_response", "tone", "confidence", "reasoning"},
}
LABELLED = {
    "conflict": ("conflict_type",),
    "intent": ("intent", "next_step"),
    "goals": ("main_goal", "sub_goals", "required_info"),
    "response": ("tone",),
}
PAIRS = [(name, field) for name, fields in LABELLED.items() for field in fields]
NUMBERS = [
    (name, field)
    for name, fields in FIELDS.items()
    for field in sorted(fields & {"confidence", "quality_score", "user_satisfaction", "completeness"})
]


def answer(name: str, changed: dict[str, Any] | None = None, profile: Profile = DEFAULT) -> dict[str, Any]:
    """Return an answer that the module may give, with some fields changed."""
    fields = MODULES[name].signature(profile).output_fields

    def one(kind: Any) -> Any:
        if get_origin(kind) is list:
            return [one(get_args(kind)[0])]
        return {float: 0.5, str: "some words"}.get(kind) or get_args(kind)[0]

    return {**{field: one(info.annotation) for field, info in fields.items()}, **(changed or {})}


def schema(name: str) -> dict[str, Any]:
    signature: Any = MODULES[name].signature(DEFAULT)
    return answer_model(signature).model_json_schema()


def accept(name: str, said: dict[str, Any], profile: Profile = DEFAULT) -> dict[str, Any]:
    signature: Any = MODULES[name].signature(profile)
    return answer_model(signature).model_validate(said).model_dump()


@pytest.mark.parametrize("profile", bundled())
@pytest.mark.parametrize(("name", "field"), PAIRS)
def test_labels_are_the_literal_of_the_field_in_the_profile_s_order(profile: str, name: str, field: str) -> None:
    labels = load_profile(profile).labels[field]
    kind = MODULES[name].signature(load_profile(profile)).output_fields[field].annotation
    if field in ("sub_goals", "required_info"):
        assert get_origin(kind) is list
        (kind,) = get_args(kind)
    assert get_args(kind) == labels


@pytest.mark.parametrize("name", FIELDS)
def test_a_module_answers_the_fields_of_the_design(name: str) -> None:
    assert set(MODULES[name].signature(DEFAULT).output_fields) == FIELDS[name]
    assert set(MODULES) == set(FIELDS)


@pytest.mark.parametrize(
    ("name", "field", "meanings"),
    [
        ("conflict", "conflict_type", DEFAULT.conflict_types),
        ("intent", "intent", {label: intent.description for label, intent in DEFAULT.intents.items()}),
        ("intent", "next_step", DEFAULT.next_steps),
        ("goals", "main_goal", DEFAULT.goals),
        ("goals", "sub_goals", DEFAULT.goals),
        ("goals", "required_info", DEFAULT.data),
        ("response", "tone", dict.fromkeys(DEFAULT.tones, "")),
    ],
)
def test_what_labels_mean_reaches_the_model_s_schema(name: str, field: str, meanings: dict[str, str]) -> None:
    told = schema(name)
    lines = told["properties"][field]["description"].splitlines()
    assert lines == [f"- {label}: {meaning}" if meaning else f"- {label}" for label, meaning in meanings.items()]
    assert set(told["required"]) == FIELDS[name]
    assert told["additionalProperties"] is False


@pytest.mark.parametrize("profile", [DEFAULT, BARE], ids=["default", "bare"])
@pytest.mark.parametrize("name", FIELDS)
def test_a_good_answer_is_accepted_as_it_is(name: str, profile: Profile) -> None:
    said = answer(name, profile=profile)
    assert accept(name, said, profile) == said


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf"), 95, "sure", None])
@pytest.mark.parametrize(("name", "field"), NUMBERS)
def test_a_score_outside_0_to_1_is_refused(name: str, field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        accept(name, answer(name, {field: value}))


@pytest.mark.parametrize(("name", "field"), NUMBERS)
def test_the_bounds_of_a_score_are_in_the_schema_and_belong_to_it(name: str, field: str) -> None:
    told = schema(name)["properties"][field]
    assert (told["minimum"], told["maximum"]) == (0, 1)
    assert [accept(name, answer(name, {field: edge}))[field] for edge in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        *((name, {field: "nonsense"}) for name, field in PAIRS),
        ("conflict", {"conflict_type": "None"}),
        ("intent", {"intent": None}),
        ("intent", {"hint": "more"}),
        ("goals", {"sub_goals": ["book_service", "fly_to_the_moon"]}),
        ("goals", {"required_info": ["phone", "shoe_size"]}),
        ("quality", {"issues": ["late"] * 9}),
        ("quality", {"suggestions": ["hurry"] * 9}),
        ("response", {"proposed_response": "x" * 4001}),
    ],
)
def test_an_answer_outside_the_format_is_refused(name: str, changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changed))):
        accept(name, answer(name, changed))


def test_without_labels_a_field_is_free_text() -> None:
    outputs = {name: MODULES[name].signature(BARE).output_fields for name in MODULES}
    assert outputs["goals"]["main_goal"].annotation is str
    assert outputs["goals"]["sub_goals"].annotation == list[str]
    assert outputs["goals"]["required_info"].annotation == list[str]
    assert outputs["intent"]["next_step"].annotation is str
    assert get_args(outputs["intent"]["intent"].annotation) == ("sale", "repair")
    free = {"main_goal": "a bell for the bike", "sub_goals": ["find it", "buy it"], "required_info": ["colour"]}
    assert accept("goals", free, BARE) == free


# A turn as an example

HISTORY: list[Line] = [{"role": "customer", "text": "hello"}, {"role": "agent", "text": "hi", "action": "greet"}]


def decision(**changed: Any) -> BrainDecision:
    readings = {
        name: {"fields": answer(name), "version": "v0.0", "model": "m", "tokens_in": 1, "tokens_out": 1, "ms": 1.0}
        for name in FIELDS
    }
    values = {
        "decision_id": "d1",
        "conversation_id": "c1",
        "turn": 1,
        "message_id": "m2",
        "profile": "default",
        "created_at": "2026-11-23T10:00:00Z",
        "user_message": "a wash for my van, please",
        "history_upto": 2,
        "state_snapshot": {"step": "choose"},
        "readings": readings,
        "faults": [],
        "versions": dict.fromkeys(FIELDS, "v0.0"),
        "models": {},
        "tokens_in": 5,
        "tokens_out": 5,
        "latency_ms": 1.0,
        "engine": "embedded",
        "brain_mode": "shadow",
        **changed,
    }
    return BrainDecision.model_validate(values)


MAIN: dict[str, dict[str, Any]] = {
    "conflict": {"conflict_type": "none"},
    "intent": {"next_step": "ask_time"},
    "quality": {"user_satisfaction": 1.0},
    "goals": {"required_info": ["vehicle"]},
    "response": {"proposed_response": "Which day?"},
}


@pytest.mark.parametrize("readings", [True, False], ids=["read", "not read"])
@pytest.mark.parametrize("snapshot", [{"step": "choose"}, None])
@pytest.mark.parametrize("name", FIELDS)
def test_an_example_shows_what_the_module_was_shown_and_knows_what_was_true(
    name: str, snapshot: dict[str, Any] | None, readings: bool
) -> None:
    turn = decision(state_snapshot=snapshot, **({} if readings else {"readings": {}}))
    example = MODULES[name].example(turn, HISTORY, MAIN[name], DEFAULT)
    shown = MODULES[name].inputs(
        {"history": HISTORY, "message": turn.user_message, "state": snapshot, "readings": turn.readings}
    )
    assert example is not None
    assert example.inputs().toDict() == shown
    assert set(shown) == set(MODULES[name].signature(DEFAULT).input_fields)
    assert MAIN[name].items() <= example.labels().toDict().items()
    assert MODULES[name].metric(example, example).score > 0


@pytest.mark.parametrize("evidence", [{}, {"tone": "firm", "issues": ["late"], "reasoning": "so"}])
@pytest.mark.parametrize("name", FIELDS)
def test_without_evidence_for_a_main_field_there_is_no_example(name: str, evidence: dict[str, Any]) -> None:
    assert MODULES[name].example(decision(), HISTORY, evidence, DEFAULT) is None


def test_evidence_never_takes_the_place_of_what_the_module_was_shown() -> None:
    evidence = {**MAIN["response"], "intent": "complaint", "sub_goals": ["get_refund"], "message": "?", "state": {}}
    example = MODULES["response"].example(decision(), HISTORY, evidence, DEFAULT)
    assert example is not None
    assert example.intent == {"intent": "booking", "next_step": "greet", "confidence": 0.5}
    assert example.sub_goals == ["book_service"]
    assert example.message == "a wash for my van, please"
    assert example.state == {"step": "choose"}


@pytest.mark.parametrize(
    ("outcome", "good"), [("success", ["Which day?"]), (None, ["Which day?"]), ("failure", []), ("abandoned", [])]
)
def test_a_reply_of_a_conversation_that_failed_is_no_model(outcome: str | None, good: list[str]) -> None:
    example = MODULES["response"].example(decision(workflow_outcome=outcome), HISTORY, MAIN["response"], DEFAULT)
    assert example is not None
    assert example.good_replies == good


@pytest.mark.parametrize(
    ("evidence", "missing"),
    [
        ({"intent": "inquiry", "required_info": ["vehicle"]}, ["service service wanted"]),
        ({"intent": "inquiry", "required_info": ["vehicle", "service"]}, []),
        ({"intent": "inquiry"}, []),
        ({"required_info": []}, []),
    ],
)
def test_what_is_missing_is_told_only_where_intent_and_given_data_are_known(
    evidence: dict[str, Any], missing: list[str]
) -> None:
    example = MODULES["response"].example(decision(), HISTORY, {**MAIN["response"], **evidence}, DEFAULT)
    assert example is not None
    assert example.missing == missing
