"""The metrics: in range whatever comes, monotone, re-weighted without evidence, honest, and hard to game."""

import inspect
import math
from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.nodes.modules import MODULES
from understudy.profile import load_profile

PROFILE = load_profile("default")
NAMES = tuple(MODULES)

MESSAGE = "This is the third time nobody came to wash my van, and I still wait for the refund you promised in March"
REPLY = "I am very sorry about that. Which day would suit you for the free redo?"
HISTORY = [{"role": "customer", "text": "good morning"}, {"role": "agent", "text": "how can we help?"}]
SHOWN = {"history": HISTORY, "message": MESSAGE}

RIGHT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "conflict": (
        {"conflict_type": "frustration"},
        {"conflict_type": "frustration", "confidence": 1.0, "reasoning": "'third time' and 'nobody came' decided"},
    ),
    "intent": (
        {"intent": "complaint", "next_step": "offer_remedy"},
        {"intent": "complaint", "confidence": 1.0, "next_step": "offer_remedy"},
    ),
    "quality": (
        {"user_satisfaction": 0.0, "issues": ["nobody came"], "suggestions": ["refund promptly"]},
        {"user_satisfaction": 0.0, "issues": ["nobody came"], "confidence": 1.0, "suggestions": ["refund promptly"]},
    ),
    "goals": (
        {"main_goal": "get_refund", "sub_goals": ["get_refund", "report_problem"], "required_info": ["vehicle"]},
        {"main_goal": "get_refund", "sub_goals": ["get_refund", "report_problem"], "required_info": ["vehicle"]},
    ),
    "response": (
        {"good_replies": ["We wash it tomorrow.", REPLY], "missing": ["preferred_date day that suits"]},
        {"proposed_response": REPLY, "confidence": 1.0},
    ),
}
"""For each module the evidence, and a prediction that earns everything but a little of the reasoning."""


def judge(name: str, evidence: dict[str, Any], said: dict[str, Any]) -> tuple[float, str]:
    """Score what was said of the turn above."""
    gold = dspy.Example(**{**SHOWN, **evidence}).with_inputs("history", "message")
    verdict = MODULES[name].metric(gold, dspy.Prediction(**said))
    return float(verdict.score), str(verdict.feedback)


def score(name: str, evidence: dict[str, Any], said: dict[str, Any]) -> float:
    return judge(name, evidence, said)[0]


def subsets(fields: Any) -> Iterator[tuple[str, ...]]:
    names = tuple(fields)
    return (some for size in range(1, len(names) + 1) for some in combinations(names, size))


# In range, whatever comes

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.binary(max_size=5),
    st.sampled_from(
        [10**400, 0.5, 1, 0, "none", "frustration", "get_refund", "vehicle", REPLY, MESSAGE, "huge " * 30_000]
    ),
)
junk = st.recursive(
    scalars,
    lambda item: st.lists(item, max_size=4) | st.dictionaries(st.text(max_size=5), item, max_size=3),
    max_leaves=6,
)
GOLD_FIELDS = ("history", "message", *sorted({field for evidence, _ in RIGHT.values() for field in evidence}))
SAID_FIELDS = sorted({field for _, said in RIGHT.values() for field in said})


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    gold=st.dictionaries(st.sampled_from(GOLD_FIELDS), junk), said=st.dictionaries(st.sampled_from(SAID_FIELDS), junk)
)
def test_any_prediction_and_any_gold_give_a_score_in_range_and_words(
    name: str, gold: dict[str, Any], said: dict[str, Any]
) -> None:
    verdict = MODULES[name].metric(dspy.Example(**gold), dspy.Prediction(**said))
    assert type(verdict.score) is float
    assert 0 <= verdict.score <= 1
    assert isinstance(verdict.feedback, str)
    assert verdict.feedback.strip()


@pytest.mark.parametrize("name", NAMES)
def test_a_very_long_answer_is_scored_in_time_and_its_feedback_stays_short(name: str) -> None:
    evidence, said = RIGHT[name]
    text = " ".join(f"word{i}" for i in range(100_000))
    value, feedback = judge(name, evidence, dict.fromkeys(said, text))
    assert value < 0.35
    assert len(feedback) < 2000


# The weights of DESIGN section 6: field -> components that it is evidence for, with what the prediction below earns

HALF: dict[str, tuple[dict[str, Any], dict[str, list[tuple[float, float]]], list[tuple[float, float]]]] = {
    "conflict": (
        {"conflict_type": "confusion", "confidence": 0.2, "reasoning": "because moonlight"},
        {"conflict_type": [(0.5, 0.0), (0.3, 0.96)]},
        [(0.2, 0.0)],
    ),
    "intent": (
        {"intent": "complaint", "confidence": 0.8, "next_step": "greet"},
        {"intent": [(0.5, 1.0), (0.3, 0.96)], "next_step": [(0.2, 0.0)]},
        [],
    ),
    "quality": (
        {
            "user_satisfaction": 0.25,
            "issues": ["nobody smiled"],
            "confidence": 0.25,
            "suggestions": ["refund promptly"],
        },
        {"user_satisfaction": [(0.4, 0.75), (0.2, 0.75)], "issues": [(0.3, 0.5)], "suggestions": [(0.1, 1.0)]},
        [],
    ),
    "goals": (
        {"main_goal": "get_redo", "sub_goals": ["get_refund", "report_problem"], "required_info": ["vehicle", "phone"]},
        {"main_goal": [(0.25, 0.0)], "sub_goals": [(0.25, 1.0)], "required_info": [(0.3, 2 / 3)]},
        [(0.2, 1.0)],
    ),
    "response": (
        {"proposed_response": REPLY.replace("Which day", "What time of day"), "confidence": 0.5},
        {"good_replies": [(0.4, 1.0), (0.2, 0.75)], "missing": [(0.1, 1.0)]},
        [(0.3, 1.0)],
    ),
}


@pytest.mark.parametrize(("name", "known"), [(name, known) for name in NAMES for known in subsets(HALF[name][1])])
def test_what_has_no_evidence_is_left_out_and_the_rest_is_scaled_up(name: str, known: tuple[str, ...]) -> None:
    said, earned, intrinsic = HALF[name]
    components = [*intrinsic, *(one for field in known for one in earned[field])]
    if name == "goals" and len({"main_goal", "sub_goals"} & set(known)) == 1:  # alignment weighs 0.5 with one of them
        components = [(0.5 if weight == 0.25 else weight, one) for weight, one in components]
    evidence = {field: value for field, value in RIGHT[name][0].items() if field in known}
    expected = sum(weight * one for weight, one in components) / sum(weight for weight, _ in components)
    assert score(name, evidence, said) == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_without_any_evidence_only_the_form_is_scored(name: str) -> None:
    value, feedback = judge(name, {}, RIGHT[name][1])
    assert value == pytest.approx(1.0 if name in ("conflict", "goals", "response") else 0.0, abs=0.3)
    assert ("no evidence" in feedback) == (name in ("intent", "quality"))


@pytest.mark.parametrize("name", NAMES)
def test_the_right_answer_earns_nearly_everything(name: str) -> None:
    assert score(name, *RIGHT[name]) == pytest.approx(1.0, abs=0.08)


# Monotone: each field from worst to best

LADDERS: dict[str, dict[str, list[Any]]] = {
    "conflict": {
        "conflict_type": [None, "confusion", "frustration"],
        "reasoning": [None, "moonlight serenade", "refund is a sonata", "third time, nobody came"],
    },
    "intent": {"intent": [None, "booking", "complaint"], "next_step": [None, "greet", "offer_remedy"]},
    "quality": {
        "user_satisfaction": [None, 1.0, 0.6, 0.4, 0.1, 0.0],
        "issues": [None, [], ["nobody smiled"], ["nobody came"]],
        "suggestions": [None, [], ["refund"], ["refund promptly"]],
    },
    "goals": {
        "main_goal": [None, "get_redo", "get_refund"],
        "sub_goals": [
            None,
            [],
            ["get_redo"],
            ["get_redo", "get_refund"],
            ["get_refund"],
            ["get_refund", "report_problem"],
        ],
        "required_info": [None, ["phone"], ["phone", "vehicle"], ["vehicle"]],
    },
    "response": {
        "proposed_response": [None, "", "sorry", MESSAGE, "A van is a car.", "I am sorry about that.", REPLY],
    },
}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, ladder in LADDERS.items() for field in ladder])
def test_a_better_field_never_lowers_the_score(name: str, field: str) -> None:
    ladder, confidences = LADDERS[name], [None, 0.0, 0.4, 1.0]
    rest = {**{other: values for other, values in ladder.items() if other != field}, "confidence": confidences}
    for known in subsets(RIGHT[name][0]):
        evidence = {name_: value for name_, value in RIGHT[name][0].items() if name_ in known}
        for values in product(*rest.values()):
            fixed = dict(zip(rest, values, strict=True))
            scores = [score(name, evidence, {**fixed, field: value}) for value in ladder[field]]
            assert scores == sorted(scores), (evidence, fixed)
    alone = RIGHT[name][1]
    assert score(name, RIGHT[name][0], {**alone, field: ladder[field][0]}) < score(name, RIGHT[name][0], alone)


CORRECT: dict[str, list[tuple[dict[str, Any], float]]] = {
    "conflict": [({"conflict_type": "frustration"}, 1.0), ({"conflict_type": "none"}, 0.0)],
    "intent": [({"intent": "complaint"}, 1.0), ({"intent": "booking"}, 0.0)],
    "quality": [({"user_satisfaction": 0.0}, 1.0), ({"user_satisfaction": 0.7}, 0.3)],
    "response": [({"proposed_response": REPLY}, 1.0), ({"proposed_response": "Purple bananas everywhere, dude"}, 0.0)],
}


@pytest.mark.parametrize(("name", "said", "correct"), [(n, *case) for n, cases in CORRECT.items() for case in cases])
def test_a_confidence_nearer_to_the_truth_never_lowers_the_score(
    name: str, said: dict[str, Any], correct: float
) -> None:
    ladder = sorted((step / 20 for step in range(21)), key=lambda stated: -round(abs(stated - correct), 9))
    scores = [round(score(name, RIGHT[name][0], {**said, "confidence": stated}), 12) for stated in (None, *ladder)]
    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


@pytest.mark.parametrize("name", ["conflict", "intent"])
@pytest.mark.parametrize("p", [step / 10 for step in range(11)])
def test_the_expected_score_is_best_when_the_stated_confidence_is_the_true_one(name: str, p: float) -> None:
    (right, _), (wrong, _) = CORRECT[name]
    evidence = RIGHT[name][0]

    def expected(stated: float) -> float:
        said = {"confidence": stated}
        return p * score(name, evidence, {**right, **said}) + (1 - p) * score(name, evidence, {**wrong, **said})

    assert max((step / 10 for step in range(11)), key=expected) == p


# Feedback

FEEDBACK = [
    ("conflict", {"conflict_type": "none"}, ["'none'", "'frustration'"]),
    ("conflict", {"conflict_type": "frustration", "confidence": 0.1}, ["'frustration' is right", "0.10", "right"]),
    ("conflict", {"conflict_type": "none", "confidence": 0.9}, ["0.90", "wrong"]),
    ("conflict", {"reasoning": MESSAGE}, ["repeats what was said"]),
    ("conflict", {}, ["no confidence", "names nothing"]),
    ("intent", {"intent": "inquiry", "next_step": "greet"}, ["'inquiry'", "'complaint'", "'greet'", "'offer_remedy'"]),
    ("quality", {"user_satisfaction": 0.8}, ["0.80", "0.00", "nobody came", "refund promptly"]),
    ("quality", {"user_satisfaction": 7}, ["no number", "0.00"]),
    ("goals", {"main_goal": "get_redo", "sub_goals": ["get_redo"]}, ["'get_refund'", "missing", "wrong get_redo"]),
    ("goals", {"required_info": ["phone"]}, ["missing vehicle", "wrong phone"]),
    ("goals", {}, ["no list", "vehicle", "one to six"]),
    ("response", {"proposed_response": "ok"}, ["We wash it tomorrow.", "too short", "preferred_date"]),
    ("response", {"proposed_response": MESSAGE}, ["customer's words back"]),
    ("response", {"proposed_response": "I now do ask_time for you"}, ["a label instead of words"]),
    ("response", {"proposed_response": "so " * 90}, ["too long", "repeats itself"]),
]


@pytest.mark.parametrize(("name", "said", "expected"), FEEDBACK)
def test_feedback_says_what_was_wrong_and_what_would_have_been_right(
    name: str, said: dict[str, Any], expected: list[str]
) -> None:
    feedback = judge(name, RIGHT[name][0], said)[1]
    assert [words for words in expected if words not in feedback] == []


def test_feedback_has_a_line_for_each_component_with_its_score() -> None:
    lines = judge("intent", *RIGHT["intent"])[1].splitlines()
    assert [line.partition(":")[0] for line in lines] == ["intent 1.00", "confidence 1.00", "next_step 1.00"]


# Attempts to game

CONSTANT: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], float]] = {
    "conflict": (
        [{"conflict_type": label} for label in PROFILE.conflict_types],
        [{"conflict_type": label, "confidence": 1.0, "reasoning": ""} for label in PROFILE.conflict_types],
        0.0,
    ),
    "intent": (
        [
            {"intent": label, "next_step": step}
            for label, step in zip(PROFILE.intents, PROFILE.next_steps, strict=False)
        ],
        [
            {"intent": label, "next_step": step, "confidence": 1.0}
            for label, step in zip(PROFILE.intents, PROFILE.next_steps, strict=False)
        ],
        0.0,
    ),
    "quality": (
        [{"user_satisfaction": value} for value in (0.0, 1.0)],
        [{"user_satisfaction": value, "confidence": 1.0} for value in (0.0, 1.0)],
        0.0,
    ),
    "goals": (
        [
            {"main_goal": goal, "sub_goals": [goal], "required_info": [datum]}
            for goal, datum in zip(PROFILE.goals, PROFILE.data, strict=False)
        ],
        [
            {"main_goal": goal, "sub_goals": [goal], "required_info": [datum]}
            for goal, datum in zip(PROFILE.goals, PROFILE.data, strict=False)
        ],
        0.2,
    ),
    "response": (
        [
            {"good_replies": [text]}
            for text in (REPLY, "Washing costs forty euros.", "Goodbye, take care!", "Booked: Friday, noon.")
        ],
        [{"proposed_response": text, "confidence": 1.0} for text in (REPLY, "Washing costs forty euros.")],
        0.3,
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_confident_answer_earns_no_more_than_its_label_s_share_and_its_form(name: str) -> None:
    balanced, answers, form = CONSTANT[name]
    for said in answers:
        earned = sum(score(name, evidence, said) for evidence in balanced) / len(balanced)
        assert earned <= 1 / len(balanced) + form + 1e-9, said


BLANKS: list[dict[str, Any]] = [
    {},
    dict.fromkeys(SAID_FIELDS),
    dict.fromkeys(SAID_FIELDS, ""),
    dict.fromkeys(SAID_FIELDS, []),
]


@pytest.mark.parametrize("confidence", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("name", NAMES)
def test_an_empty_answer_scores_low_whatever_is_known(
    name: str, blank: dict[str, Any], confidence: float | None
) -> None:
    for known in subsets(RIGHT[name][0]):
        evidence = {field: value for field, value in RIGHT[name][0].items() if field in known}
        earned = score(name, evidence, {**blank, "confidence": confidence})
        assert earned < 0.35, known
        assert earned == score(name, evidence, {**blank, "confidence": None}), "there is nothing to be sure of"


@pytest.mark.parametrize(
    ("name", "evidence"), [("quality", {"issues": [], "suggestions": []}), ("goals", {"required_info": []})]
)
def test_no_list_is_no_answer_where_an_empty_one_would_be_right(name: str, evidence: dict[str, Any]) -> None:
    fields: dict[str, Any] = dict.fromkeys(evidence, [])
    assert score(name, evidence, {}) < 0.35
    assert score(name, evidence, {**fields, "sub_goals": ["get_redo"]}) == 1.0


ECHOES = [MESSAGE, MESSAGE.upper(), f"{MESSAGE} {MESSAGE}", f"Thank you: {MESSAGE}", " ".join(MESSAGE.split()[:12])]


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_the_customer_s_words_given_back_are_no_reply(echo: str, confidence: float | None) -> None:
    for known in ((), *subsets(RIGHT["response"][0])):
        evidence = {field: value for field, value in RIGHT["response"][0].items() if field in known}
        said = {"proposed_response": echo, "confidence": confidence}
        assert score("response", evidence, said) < 0.36, known


@pytest.mark.parametrize(
    "history", [[], HISTORY, [{"role": "agent", "text": "nine long stories about rain, sun, wind and stormy seas"}]]
)
@pytest.mark.parametrize("message", [MESSAGE, "I would like to cancel, nobody came"])
def test_the_message_as_reasoning_earns_little(history: list[dict[str, str]], message: str) -> None:
    evidence = {"conflict_type": "frustration", "history": history, "message": message}
    said = {"conflict_type": "none", "confidence": 1.0}
    story = " ".join(line["text"] for line in history)
    for echo in (message, f"{message} {message}", f"{story} {message}"):
        assert score("conflict", evidence, {**said, "reasoning": echo}) <= 0.05


def test_the_message_within_many_own_words_as_reasoning_earns_little() -> None:
    own = "My careful reading of everything above shows exactly these words without adding anything new at all"
    said = {"conflict_type": "none", "confidence": 1.0, "reasoning": f"{own}: {MESSAGE}"}
    assert score("conflict", RIGHT["conflict"][0], said) <= 0.05


def test_the_whole_conversation_as_reasoning_earns_little() -> None:
    story = "nine long stories about rain, sun, wind and stormy seas"
    evidence = {
        "conflict_type": "frustration",
        "history": [{"role": "agent", "text": story}],
        "message": "fine, thanks",
    }
    said = {"conflict_type": "none", "confidence": 1.0, "reasoning": f"{story} fine, thanks"}
    assert score("conflict", evidence, said) <= 0.05


def test_words_of_the_labels_in_the_reasoning_earn_nothing() -> None:
    said = {"conflict_type": "off_topic", "confidence": 1.0}
    evidence = {"conflict_type": "frustration", "message": f"{MESSAGE}; my frustration is not off topic"}
    stuffed = "frustration, off topic, off_topic; " * 5 + ", ".join(PROFILE.conflict_types)
    assert score("conflict", evidence, {**said, "reasoning": stuffed}) == 0.0


def test_one_word_again_and_again_is_one_word() -> None:
    said = {"conflict_type": "none", "confidence": 1.0}
    evidence = RIGHT["conflict"][0]
    once, often = (score("conflict", evidence, {**said, "reasoning": text}) for text in ("refund", "refund " * 9))
    assert once == often < 0.07


def test_a_reply_with_labels_in_it_earns_less_and_one_with_a_customer_s_id_does_not() -> None:
    evidence = RIGHT["response"][0]
    plain, labelled, id_ = (
        score("response", evidence, {"proposed_response": f"{REPLY} {end}", "confidence": 1.0})
        for end in ("offer remedy", "offer_remedy", "mia_li_3668")
    )
    assert labelled < plain <= id_


@pytest.mark.parametrize(
    ("reply", "asks"),
    [
        ("Which day would suit you?", True),
        ("Any day would suit us.", False),
        ("What is your name, please?", False),
        ("What colour is it?", False),
    ],
)
def test_only_a_question_for_what_is_missing_covers_it(reply: str, asks: bool) -> None:
    evidence = {"missing": RIGHT["response"][0]["missing"]}
    assert score("response", evidence, {"proposed_response": reply}) == pytest.approx(1.0 if asks else 0.75)


@pytest.mark.parametrize(
    ("sub_goals", "earned"),
    [
        (["wash"], 1.0),
        ([f"part {i}" for i in range(6)], 1.0),
        ([f"part {i}" for i in range(12)], 0.5),
        (["wash", "wash"], 0.5),
        (["wash", "word " * 13], 0.5),
        (["", "wash"], 0.5),
        ("wash", 0.0),
        ([], 0.0),
    ],
)
def test_parts_can_be_worked_through_when_they_are_few_short_and_different(sub_goals: Any, earned: float) -> None:
    assert score("goals", {}, {"sub_goals": sub_goals}) == pytest.approx(earned)


def test_all_labels_at_once_are_worse_than_the_right_ones() -> None:
    evidence, said = RIGHT["goals"]
    everything = {"sub_goals": list(PROFILE.goals), "required_info": list(PROFILE.data)}
    assert score("goals", evidence, {**said, **everything}) < 0.65
    twice = {"sub_goals": said["sub_goals"] * 2}
    assert score("goals", evidence, {**said, **twice}) < score("goals", evidence, said)


# As GEPA calls them


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_takes_gepa_s_five_parameters_by_place(name: str) -> None:
    evidence, said = RIGHT[name]
    metric = MODULES[name].metric
    assert list(inspect.signature(metric).parameters) == ["gold", "pred", "trace", "pred_name", "pred_trace"]
    verdict = metric(dspy.Example(**SHOWN, **evidence), dspy.Prediction(**said), [], "self", [])
    assert isinstance(verdict, dspy.Prediction)
    assert math.isclose(verdict.score, score(name, evidence, said))
