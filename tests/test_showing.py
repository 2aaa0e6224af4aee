"""What others wrote is shown so that nothing obeys it, and what people write stays readable."""

import json
import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from understudy.showing import MOST_MARKS, printable, printable_json
from understudy.tests.hostile import FIXED, READABLE, flooded, obeyed, texts

ANY = st.text(st.characters(), max_size=60) | st.sampled_from(FIXED + READABLE)


@pytest.mark.parametrize("text", READABLE, ids=ascii)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x9b31m\x00\x7f\r\n\t", r"\x1b[2J\x9b31m\x00\x7f\r\n\t"),
        ("\u202eevil\u2069\u200e", r"\u202eevil\u2069\u200e"),
        ("a\u200bb\u200dc\u200cd\ufeff", r"a\u200bb\u200dc\u200cd\ufeff"),
        ("\ud800\u2028\x85", r"\ud800\u2028\x85"),
        ("\U0001f600\U000e0101\U000e0102", r"😀\U000e0101\U000e0102"),
        ("\u2764\ufe0f\ufe0e\ufe0f", "\u2764\ufe0f\\ufe0e\\ufe0f"),
        ("x\u3164\uffa0", r"x\u3164\uffa0"),
        ("e" + "\u0301" * (MOST_MARKS + 2), "e" + "\u0301" * MOST_MARKS + r"\u0301\u0301"),
        ("\u06cc\u200c\u200c", "\u06cc\u200c\\u200c"),
        ("[red]:smile: <b>", "[red]:smile: <b>"),
    ],
    ids=ascii,
)
def test_what_is_obeyed_or_hidden_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY, ANY)
def test_nothing_printed_is_obeyed(one: str, other: str) -> None:
    shown = printable(one + other)
    assert not obeyed(shown) and not flooded(shown) and "\n" not in shown
    assert printable(shown) == shown


@given(st.dictionaries(ANY, ANY | st.lists(ANY)))
@example({"\ud83d": "\ude00 \U000e0001"})
def test_json_is_shown_the_same_way_and_says_the_same(value: dict[str, object]) -> None:
    line = printable_json(value)
    assert not obeyed(line) and "\n" not in line and len(line.splitlines()) == 1
    assert json.loads(line) == json.loads(json.dumps(value))


def test_a_log_line_is_one_line_that_nothing_obeys(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("understudy")
    handler = logging.Formatter("%(message)s")
    for text in texts(300):
        caplog.clear()
        log.warning("in conversation %s: %s, %d", text, ValueError(text), 7)
        (record,) = caplog.records
        plain = handler.format(record)
        assert not obeyed(plain) and "\n" not in plain and record.msg == "in conversation %s: %s, %d"


def test_a_wrong_log_line_is_not_the_callers_error(monkeypatch: pytest.MonkeyPatch) -> None:
    log = logging.getLogger("understudy")
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [logging.NullHandler()])
    log.warning("%d turns", "many")
