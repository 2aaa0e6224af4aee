"""Answers that do not fit: what is plain is repaired, what is not is named."""

import json
from typing import Any, Literal

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.intake import clean_text, cleaned
from understudy.lm.adapter import answer_model
from understudy.lm.errors import (
    AnswerEmpty,
    AnswerError,
    FieldMissing,
    ModelError,
    NotJson,
    OutOfRange,
    WrongLabel,
    WrongType,
)
from understudy.lm.repair import fit
from understudy.nodes.faculty import Score


class Judge(dspy.Signature):
    """Judge."""

    message: str = dspy.InputField()
    mood: Literal["very_good", "bad", "none"] = dspy.OutputField()
    topics: list[Literal["price", "delivery_time"]] = dspy.OutputField()
    confidence: Score = dspy.OutputField()
    reasoning: str = dspy.OutputField()


GOOD = {"mood": "bad", "topics": ["price"], "confidence": 0.9, "reasoning": "He said: no, no."}
TEXT = json.dumps(GOOD)


def read(text: str) -> tuple[dict[str, Any], list[str]]:
    return fit(text, answer_model(Judge), Judge)


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        (TEXT, []),
        (f"<think>He says {{no}}. Bad.</think>\n{TEXT}", ["thinking"]),
        (f"it is bad</think>{TEXT}", ["thinking"]),
        (f"Sure! Here it is:\n{TEXT}\nAnything else?", ["prose"]),
        (f"```json\n{TEXT}\n```", ["prose"]),
        (f"A {{mood}} is asked for: {TEXT}", ["prose"]),
        (f"{TEXT}\n{TEXT}", ["prose"]),
        (TEXT.replace("0.9", "0,9"), ["comma"]),
        (TEXT.replace('"}', '",}'), ["comma"]),
        (TEXT.replace("mood", "Mood").replace("confidence", "CONFIDENCE"), ["field_name"]),
        (TEXT.replace('"}', '", "note": "x"}'), ["extra_field"]),
        (TEXT.replace('"bad"', '" Bad "'), ["spelling"]),
        (json.dumps({**GOOD, "mood": "Very-Good", "topics": ["Delivery time"]}), ["spelling"]),
        (json.dumps({**GOOD, "confidence": "90 %", "note": 1}), ["number", "extra_field"]),
        (json.dumps({**GOOD, "confidence": "0,9", "note": 1}), ["number", "extra_field"]),
        (json.dumps({**GOOD, "topics": "price"}), ["single"]),
        (f'A 5" screen. {TEXT}'.replace("0.9", "0,9"), ["comma", "prose"]),
        (TEXT.replace('"}', '", "meta": {},}'), ["comma", "extra_field"]),
    ],
)
def test_what_is_plain_is_repaired_and_the_rule_named(text: str, rules: list[str]) -> None:
    fields, used = read(text)
    assert used == rules
    mood = "very_good" if "Very" in text else "bad"
    topics = ["delivery_time"] if "Delivery" in text else ["price"]
    assert fields == {**GOOD, "mood": mood, "topics": topics}


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", AnswerEmpty, "empty"),
        (" \n ", AnswerEmpty, "empty"),
        ("I cannot help with that.", NotJson, "no JSON object"),
        ("<think>Okay, the customer", NotJson, "no JSON object"),
        (TEXT[:-20], NotJson, "no JSON object"),
        (TEXT + TEXT.replace("bad", "none"), NotJson, "2 JSON objects"),
        ("[1, 2]", NotJson, "no JSON object"),
        (json.dumps({**GOOD, "mood": "furious"}), WrongLabel, "mood"),
        (json.dumps({**GOOD, "mood": "malo", "reasoning": "dijo que no"}), WrongLabel, "malo"),
        (json.dumps({**GOOD, "topics": ["colour"]}), WrongLabel, "topics.0"),
        (json.dumps({**GOOD, "confidence": 761}), OutOfRange, "confidence.*761"),
        (json.dumps({**GOOD, "confidence": -0.1}), OutOfRange, "confidence"),
        (TEXT.replace("0.9", "NaN"), OutOfRange, "confidence"),
        (json.dumps({"mood": "bad"}), FieldMissing, "topics.*confidence.*reasoning"),
        (json.dumps({**GOOD, "confidence": "sure"}), WrongType, "confidence"),
        (json.dumps({**GOOD, "confidence": None}), WrongType, "confidence"),
        (json.dumps({**GOOD, "topics": {"a": 1}}), WrongType, "topics"),
        ("{" * 5000, NotJson, "no JSON object"),
        (json.dumps({**GOOD, "confidence": True}), WrongType, "confidence"),
        (json.dumps({**GOOD, "confidence": "1,000"}), WrongType, "confidence"),
        (TEXT.replace("0.9", "1,000"), NotJson, "no JSON object"),
        (TEXT.replace('"mood": "bad"', '"Mood": "bad", "mood ": "none"'), FieldMissing, "mood"),
        (f"Well, {TEXT}".replace('"mood": "bad"', '"mood": "bad", "mood": "none"'), NotJson, "no JSON object"),
        ('{"a":' * 5000, NotJson, "no JSON object"),
    ],
)
def test_what_is_not_plain_is_an_error_of_its_kind(text: str, kind: type[AnswerError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        read(text)
    assert isinstance(caught.value, ModelError) and text.startswith(caught.value.text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_what_no_text_can_hold_is_replaced_not_kept() -> None:
    half = TEXT.replace("He said", "\\ud83d said")
    fields, _ = read(half)
    assert fields["reasoning"].encode() and "said" in fields["reasoning"]
    with pytest.raises(WrongLabel) as caught:
        read(half.replace('"bad"', '"furious"'))
    assert str(caught.value).encode() and caught.value.text.encode()


def test_a_closed_thought_in_a_text_is_no_thought() -> None:
    answer = {**GOOD, "reasoning": "he wrote </think> himself", "note": 1}
    assert read(json.dumps(answer)) == ({**GOOD, "reasoning": answer["reasoning"]}, ["extra_field"])


@given(st.text() | st.from_regex(r'[{}\[\]",:a-z0-9 ]*', fullmatch=True))
def test_any_text_is_an_answer_or_an_error_of_ours(text: str) -> None:
    try:
        fields, _ = read(text)
    except AnswerError as error:
        assert len(error.text) <= 2000
    else:
        assert set(fields) == set(GOOD)


@given(st.sampled_from(["very_good", "bad", "none"]), st.floats(0, 1), st.text())
def test_a_good_answer_comes_through_unchanged_whatever_stands_in_its_texts(mood: str, sure: float, why: str) -> None:
    answer = {**GOOD, "mood": mood, "confidence": sure, "reasoning": why}
    assert read(json.dumps(answer)) == ({**answer, "reasoning": clean_text(why)}, [])
    assert read(f"Well, {json.dumps(answer)}")[0] == cleaned(answer)
