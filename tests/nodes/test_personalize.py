"""A personal touch, from outside: post replies and look at the suggestions; the program may lie, the code may not."""

import asyncio
import json
from pathlib import Path
from typing import Any

import dspy
import pytest
from langchain_core.messages import AIMessage, HumanMessage

from understudy import MessagePersonalizer, PersonalizationSuggestion, personalize_metric
from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.shadow import create_shadow_workflow
from understudy.lm.errors import ModelError
from understudy.nodes import faculty as faculty_file
from understudy.nodes.ab_life import begin, statistics
from understudy.nodes.brain import Brain, WithBrain
from understudy.nodes.job import builder_for
from understudy.nodes.modules import PROGRAMS
from understudy.settings import Settings

CASUAL = "hey can u guys clean my van on friday?? thx \N{SMILING FACE WITH SMILING EYES}"
REPLY = "Hello. We are able to assist you for $40. At what time would you require it?"
CUSTOMER = {"name": "Ines Duarte"}


def post(brain: Brain, *messages: Any, conversation: str = "c1", **news: Any) -> dict[str, Any]:
    async def run() -> Any:
        async with open_checkpointer() as saver:
            graph = create_shadow_workflow(checkpointer=saver)
            config: Any = {"configurable": {"thread_id": conversation}}
            given: Any = {"conversation_id": conversation, "messages": list(messages), **news}
            return await graph.ainvoke(given, config, context=WithBrain(brain=brain))

    return asyncio.run(run())


def suggestions(brain: Brain) -> list[dict[str, Any]]:
    return brain.gym.suggestions(None, None, 100)


@pytest.fixture
def lies(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the program answer whatever the test says."""

    def answer(**fields: Any) -> None:
        async def call(program: Any, inputs: Any) -> dict[str, Any]:
            known = {"modifications": ["tone_friendly"], "confidence": 0.9, "reasoning": "so", **fields}
            return {name: value for name, value in known.items() if value is not None}

        monkeypatch.setattr(faculty_file, "_call", call)

    return answer


def test_a_reply_is_personalised_and_stays_what_production_sent(brain: Brain) -> None:
    post(brain, HumanMessage(CASUAL), customer=CUSTOMER)
    answer = post(brain, AIMessage(REPLY))
    suggestion = answer["personalization_suggestion"]
    assert suggestion["original_message"] == REPLY and suggestion["personalized_message"] != REPLY
    assert suggestion["modifications"] and suggestion["rejected"] == []
    assert "Ines" in suggestion["personalized_message"] and "$40" in suggestion["personalized_message"]
    assert brain.gym.decision("c1", 0).response_sent == REPLY
    assert [event.text for event in brain.gym.messages("c1", 9, 9)] == [CASUAL, REPLY]
    (row,) = suggestions(brain)
    assert (row["status"], row["turn"], row["version"], row["profile"]) == ("accepted", 0, "v0.0", "default")
    assert row["personalized_message"] == suggestion["personalized_message"] and row["was_better"] is None


def test_the_register_comes_from_the_customers_own_messages(brain: Brain) -> None:
    post(brain, HumanMessage("Good morning. I would like to have my van cleaned, if that is possible. Kind regards."))
    formal = post(brain, AIMessage("Hi! We can't do it today, but we'll do it on Friday."))
    post(brain, HumanMessage(CASUAL), conversation="c2")
    casual = post(brain, AIMessage("Good day. We cannot do it today, but we will do it on Friday."), conversation="c2")
    assert "formality_up" in formal["personalization_suggestion"]["modifications"]
    assert "formality_down" in casual["personalization_suggestion"]["modifications"]


def test_a_message_and_its_reply_in_one_post_are_both_handled(brain: Brain) -> None:
    answer = post(brain, HumanMessage(CASUAL), AIMessage(REPLY, id="r1"), AIMessage("We open at 9.", id="r2"))
    assert answer["turn"] == 0 and answer["personalization_suggestion"]["original_message"] == "We open at 9."
    assert [row["message_id"] for row in suggestions(brain)] == ["r2", "r1"]
    post(brain, HumanMessage(CASUAL), AIMessage(REPLY, id="r1"))
    assert len(suggestions(brain)) == 2


def test_a_greeting_before_any_message_has_no_turn(brain: Brain) -> None:
    post(brain, AIMessage("Hello, how can I help?"))
    (row,) = suggestions(brain)
    assert row["turn"] is None and row["status"] in ("accepted", "unchanged")


def test_switched_off_nothing_is_asked(home: Path) -> None:
    brain = Brain(Settings(personalize_enabled=False))
    post(brain, HumanMessage(CASUAL))
    assert post(brain, AIMessage(REPLY))["personalization_suggestion"] is None
    assert suggestions(brain) == []
    brain.gym.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (REPLY.replace("$40", "$45"), "$45"),
        (REPLY.replace("are able", "are not able"), "negation"),
        (REPLY + " We will refund you.", "refund"),
        (REPLY + " See http://x.example/pay", "link"),
        ("Sure!", "is missing"),
        ("", "the rewriting is empty"),
        (REPLY.replace("Hello", "Hello Peter"), "Peter"),
        (REPLY + "\x1b[2J", "invisible character"),
        ("x" * 3900, "much longer"),
    ],
)
def test_what_must_not_change_is_checked_in_code(brain: Brain, lies: Any, text: str, why: str) -> None:
    lies(personalized_message=text)
    post(brain, HumanMessage(CASUAL))
    answer = post(brain, AIMessage(REPLY))
    (row,) = suggestions(brain)
    assert row["original_message"] == REPLY
    assert row["status"] == "rejected" and why in row["reason"]
    assert answer["personalization_suggestion"]["rejected"]


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({"personalized_message": "Hi" + REPLY[5:], "modifications": []}, "rejected", "names no modification"),
        ({"personalized_message": REPLY, "modifications": ["name_used"]}, "unchanged", None),
        ({"personalized_message": None}, "rejected", "the rewriting is empty"),
        ({"personalized_message": REPLY, "confidence": None}, "unchanged", None),
        ({"personalized_message": "Hi" + REPLY[5:], "modifications": ["rudeness_up"]}, "fault", "rudeness_up"),
        ({"personalized_message": REPLY, "confidence": 7}, "fault", "confidence"),
    ],
)
def test_an_answer_that_lies_about_itself(brain: Brain, lies: Any, fields: Any, status: str, reason: str) -> None:
    lies(**fields)
    post(brain, HumanMessage(CASUAL))
    post(brain, AIMessage(REPLY))
    (row,) = suggestions(brain)
    assert row["status"] == status and (reason is None or reason in row["reason"])
    assert status != "unchanged" or row["modifications"] == []


def test_a_program_that_raises_leaves_a_fault_and_the_rows(brain: Brain, monkeypatch: pytest.MonkeyPatch) -> None:
    async def call(program: Any, inputs: Any) -> Any:
        raise RuntimeError("no")

    monkeypatch.setattr(faculty_file, "_call", call)
    post(brain, HumanMessage(CASUAL))
    assert post(brain, AIMessage(REPLY))["personalization_suggestion"] is None
    (row,) = suggestions(brain)
    assert (row["status"], row["reason"], row["personalized_message"]) == ("fault", "RuntimeError: no", None)
    assert brain.gym.decision("c1", 0).response_sent == REPLY
    with pytest.raises(ModelError, match="RuntimeError: no"):
        MessagePersonalizer(brain=brain).personalize(REPLY)


@pytest.mark.parametrize(
    "customer", [{"name": ["x"] * 9}, {"name": "I" * 10_000}, {"preferences": [1]}, {"a": {"b": 1}}]
)
def test_any_customer_object_will_do(brain: Brain, customer: dict[str, Any]) -> None:
    post(brain, HumanMessage(CASUAL), customer=customer)
    post(brain, AIMessage(REPLY))
    assert suggestions(brain)[0]["status"] in ("accepted", "unchanged")


def test_a_reviewer_says_whether_it_was_better_before_or_after(brain: Brain) -> None:
    post(brain, HumanMessage(CASUAL))
    post(brain, label={"turn": 0, "fields": {"was_better": False}, "author": "mia"})
    post(brain, AIMessage(REPLY))
    assert [(row["was_better"], row["reviewer"]) for row in suggestions(brain)] == [(0, "mia")]
    post(brain, label={"turn": 0, "fields": {"was_better": True}})
    assert [(row["was_better"], row["reviewer"]) for row in suggestions(brain)] == [(1, None)]


def test_the_public_call_returns_a_suggestion(brain: Brain) -> None:
    found = MessagePersonalizer(brain=brain).personalize(
        REPLY, customer=CUSTOMER, history=[{"role": "customer", "text": CASUAL}]
    )
    assert isinstance(found, PersonalizationSuggestion) and found.status == "accepted"
    assert found.original_message == REPLY and 0 <= found.confidence <= 1 and found.reasoning
    assert json.loads(found.model_dump_json())["modifications"] == found.modifications


# The metric


def gold(**more: Any) -> dspy.Example:
    manner = {"messages": 3, "formality": 0.1, "emoji": 1.0}
    return dspy.Example(**{"reply": REPLY, "manner": manner, "customer_profile": CUSTOMER, "history": [], **more})


def says(text: str, *modifications: str, confidence: float = 0.8) -> dspy.Prediction:
    return dspy.Prediction(
        personalized_message=text, modifications=list(modifications), confidence=confidence, reasoning="so"
    )


FITTING = REPLY.replace("Hello.", "Hi Ines!").replace("We are", "We're") + " \N{WAVING HAND SIGN}"


def test_what_fits_the_customer_better_scores_more() -> None:
    same, better = (
        personalize_metric(gold(), pred).score
        for pred in (says(REPLY), says(FITTING, "formality_down", "emoji_added", "name_used"))
    )
    assert better > same > 0
    preferred = gold(customer_profile={"preferences": {"formality": "formal", "emoji": False}})
    assert (
        personalize_metric(preferred, says(REPLY)).score
        > personalize_metric(preferred, says(FITTING, "formality_down", "emoji_added", "name_used")).score
    )


def test_what_breaks_a_fact_scores_nothing() -> None:
    found = personalize_metric(gold(), says(FITTING.replace("$40", "$30"), "formality_down", "emoji_added"))
    assert found.score == 0 and "$30" in found.feedback


def test_a_reviewers_word_is_what_confidence_is_measured_by() -> None:
    sure, unsure = (
        personalize_metric(gold(was_better=True), says(FITTING, "formality_down", "emoji_added", confidence=sure)).score
        for sure in (0.95, 0.1)
    )
    assert sure > unsure
    silent = [
        personalize_metric(gold(), says(FITTING, "formality_down", "emoji_added", confidence=sure)).score
        for sure in (0.95, 0.1)
    ]
    assert silent[0] == silent[1]


def test_modifications_that_cannot_be_seen_cost() -> None:
    honest, vain = (
        personalize_metric(gold(), says(FITTING, *named)).score
        for named in (("formality_down", "emoji_added"), ("formality_up", "emoji_removed"))
    )
    assert honest > vain
    assert personalize_metric(gold(), says(FITTING)).score < honest


@pytest.mark.parametrize(
    "pred", [{}, {"personalized_message": None}, {"personalized_message": 5, "modifications": "x"}]
)
def test_any_answer_has_a_score(pred: dict[str, Any]) -> None:
    assert personalize_metric(gold(), dspy.Prediction(**pred)).score == 0


# Like the five


def test_it_is_tested_side_by_side_like_the_five(brain: Brain) -> None:
    name = begin(brain, "default", "personalize", "v0.0", "v0.0").name
    post(brain, HumanMessage(CASUAL), customer=CUSTOMER)
    post(brain, AIMessage(REPLY, id="r1"))
    post(brain, AIMessage("One more thing: we are closed today.", id="r2"))
    post(brain, outcome={"workflow_outcome": "success"})
    rows = brain.gym.rows("SELECT * FROM ab_results")
    assert len(rows) == 1 and json.loads(rows[0]["answer_a"]) == json.loads(rows[0]["answer_b"])
    found = statistics(brain, name)
    assert (found["sample_size"], found["ties"]) == (1, 1) and found["mean_score_a"] > 0


def test_its_examples_are_replies_with_who_they_were_sent_to(brain: Brain) -> None:
    post(brain, HumanMessage(CASUAL), customer=CUSTOMER)
    post(brain, AIMessage(REPLY))
    post(brain, label={"turn": 0, "fields": {"was_better": True}})
    post(brain, outcome={"workflow_outcome": "success"})
    dataset = builder_for(brain, None).build(PROGRAMS["personalize"])
    (example,) = [*dataset.train, *dataset.validation, *dataset.sealed]
    assert (example.reply, example.customer_profile, example.was_better) == (REPLY, CUSTOMER, True)
    assert example.history == [{"role": "customer", "text": CASUAL}]
    assert set(example.inputs().keys()) == {"history", "customer_profile", "manner", "reply"}
