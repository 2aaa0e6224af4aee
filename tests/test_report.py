import copy
import math
import re
from html.parser import HTMLParser

import pytest

from understudy.report import LABELS, MOST_CANDIDATES, page, summary
from understudy.tests.hostile import obeyed

OLD = "Read the message. Choose refund when the customer asks for money. Otherwise choose none."
NEW = "Read the message. Choose refund when the customer asks for money back. Say low confidence in doubt."
HOSTILE = (
    "</style></svg><img src=x onerror=alert(1)>\"' \x1b[31mred\x9b\x00 \u202eback\u202c\u2066\u200b\r\n{{ 7 * 7 }}"
)
CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

MODULE = {
    "status": "published",
    "reason": "better by +0.088, and at least by +0.021",
    "version": "v1.1",
    "parent": "v1.0",
    "baseline_score": 0.624,
    "score": 0.712,
    "avg_score": 0.731,
    "improvement": 0.088,
    "interval": [0.021, 1.0],
    "train_size": 201,
    "val_size": 102,
    "test_size": 118,
    "metric_calls": 1853,
    "seconds": 252.4,
    "sealed_conversations": 64,
    "level": 0.005,
    "gated_before": 3,
    "balanced": {"old": 0.51, "new": 0.655},
    "faults": {"old": 7, "new": 2},
    "tokens": {"old": 812.4, "new": 931.2},
    "latency_ms": {"old": 412.3, "new": 430.9},
    "instruction": {"old": OLD, "new": NEW},
    "lineage": [
        {"candidate": 0, "parent": None, "val_score": 0.61, "best": False},
        {"candidate": 1, "parent": 0, "val_score": 0.64, "best": False},
        {"candidate": 2, "parent": 0, "val_score": 0.62, "best": False},
        {"candidate": 3, "parent": 1, "val_score": 0.731, "best": True},
    ],
    "candidates_tried": 30,
    "candidates_accepted": 3,
    "proposals_rejected": {"quote": 4, "LMError": 1},
    "masked": {"email": 3, "customer": 12},
    "finds": [],
}
RUN = {
    "run_id": "2f0c6a1e",
    "started_at": "2026-11-23T10:00:00+00:00",
    "ended_at": "2026-11-23T10:14:31+00:00",
    "profile": "star",
    "status": "success",
    "reason": None,
    "engine": "ollama",
    "student": "gemma3:4b",
    "teacher": "qwen3:8b",
    "decisions_processed": 2410,
    "optimized_count": 1,
    "module_results": {"conflict": MODULE},
}


class Page(HTMLParser):
    """What a browser makes of a page: elements, and the text apart from its style."""

    def __init__(self, run):
        super().__init__()
        self.source = page(run)
        self.elements, self.texts, self.styles, self.open = [], [], [], []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "rect", "line", "path", "circle") or self.get_starttag_text().endswith("/>"):
            self.open.append(tag)
        if self.get_starttag_text().endswith("/>"):
            self.open.pop()

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        (self.styles if self.open[-1:] == ["style"] else self.texts).append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def all(self, tag, **wanted):
        return [a for name, a in self.elements if name == tag and wanted.items() <= a.items()]

    def classed(self, tag, name):
        return self.all(tag, **{"class": name})


def run_with(**changes):
    return {**RUN, "module_results": {"conflict": {**MODULE, **changes}}}


def planted(value, text):
    """Put a text in the place of every text, and of every key that is not ours."""
    if isinstance(value, dict):
        return {key: planted(inner, text) for key, inner in value.items()}
    if isinstance(value, list):
        return [planted(inner, text) for inner in value]
    return text if isinstance(value, str) else value


def odd_runs():
    """Give the run without each of its keys, and with each of them odd."""
    for odd in (..., None, "x", "", [], {}, [None, [], {}], {"old": "x", "new": []}, True, -1, 0, math.nan, 10**400):
        for where, keys in (("run", RUN), ("module", MODULE)):
            for key in keys:
                run = copy.deepcopy(RUN)
                place = run if where == "run" else run["module_results"]["conflict"]
                if odd is ...:
                    del place[key]
                else:
                    place[key] = odd
                yield run


def percent(text):
    return float(text.removesuffix("%"))


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (
            "published",
            "good",
            "v1.1 is in use instead of v1.0. Proved on conversations it had never seen: better by at",
        ),
        (
            "candidate",
            "it may be luck.",
            "Not proved yet. It may be luck. v1.0 stays in use; v1.1 answers beside it until their A/B test decides",
        ),
        ("rejected", "no better", "Not taken. No better. v1.0 stays in use."),
        ("skipped", "14 examples; 20 are needed", "Not tried. 14 examples; 20 are needed. v1.0 stays in use."),
        ("error", "the server is down", "Failed. The server is down. v1.0 stays in use."),
        ("", None, "No verdict. The run may have been stopped before it came to one."),
    ],
)
def test_a_module_is_told_by_its_status(status, reason, said):
    run = run_with(status=status, reason=reason)
    assert said in Page(run).text
    assert any(line.startswith("  conflict  0.624 -> 0.712. " + said) for line in summary(run))
    only = {**RUN, "module_results": {"conflict": {"status": status, "reason": reason, "parent": "v1.0"}}}
    if status != "published":
        assert said.split(";")[0] in Page(only).text


def test_what_is_in_use_without_a_proof_is_not_called_proved():
    for interval in (None, [], [None, 1.0], [-0.01, 1.0], [0.0, 1.0]):
        text = Page(run_with(interval=interval, reason="chosen by a person")).text
        assert "are no proof that it is better: chosen by a person." in text and "Proved on" not in text


def test_the_run_is_told_in_one_sentence():
    results = dict.fromkeys("abc", {"status": "published"}) | {"d": {"status": "candidate"}, "e": {"status": "error"}}
    headline = "3 of 5 modules got better and are in use: a, b, c; seemingly better, but not proved and not in use: d; "
    headline += "as before: e (failed)."
    assert summary({**RUN, "module_results": results})[:2] == [
        "run 2f0c6a1e, profile star, 2026-11-23 10:00 UTC, 14 min 31 s",
        headline,
    ]
    assert headline in Page({**RUN, "module_results": results}).text


@pytest.mark.parametrize(
    ("changes", "headline"),
    [
        (
            {"status": "skipped", "reason": "12 decisions; 100 are needed"},
            "Nothing was optimised: 12 decisions; 100 are",
        ),
        ({"status": "error", "reason": "disk full"}, "The run failed: disk full."),
        ({"ended_at": None}, "The run has not ended, or was stopped; this is what is known so far."),
        ({}, "No module was looked at."),
    ],
)
def test_a_run_that_did_nothing_says_why(changes, headline):
    run = {**RUN, "module_results": {}, **changes}
    assert headline in Page(run).text and summary(run)[1].startswith(headline)


def test_text_from_outside_is_text():
    tame, hostile = Page(planted(RUN, "tame")), planted(RUN, HOSTILE)
    hostile["module_results"] = {
        HOSTILE: hostile["module_results"]["conflict"] | {"proposals_rejected": {HOSTILE: 2}, "masked": {HOSTILE: 2}}
    }
    wild = Page(hostile)
    assert [tag for tag, _ in wild.elements] == [tag for tag, _ in tame.elements]
    assert wild.styles == tame.styles
    assert not [name for _, attrs in wild.elements for name in attrs if name.startswith("on")]
    assert not obeyed(wild.source)
    for shown in (
        "<img src=x onerror=alert(1)>\"'",
        "\\x1b[31mred\\x9b\\x00",
        "\\u202eback\\u202c\\u2066\\u200b\\r\\n",
    ):
        assert shown in wild.text
    assert "{{ 7 * 7 }}" in wild.text and " 49" not in wild.text


@pytest.mark.parametrize("status", [*LABELS, HOSTILE])
def test_hostile_text_is_text_at_every_status(status):
    run = planted(RUN, HOSTILE)
    run["module_results"]["conflict"] |= {"status": status, "finds": [{"kind": HOSTILE, "why": HOSTILE}, 3, None]}
    found = Page(run)
    assert not found.all("img") and not found.all("script") and not obeyed(found.source)
    assert all(not obeyed(line) for line in summary(run))


def test_nothing_is_asked_of_the_network():
    found = Page(planted(RUN, "https://elsewhere.example/x"))
    assert found.all("meta", content=CSP, **{"http-equiv": "Content-Security-Policy"})
    links = [
        value for _, attrs in found.elements for name, value in attrs.items() if name in ("href", "src", "xlink:href")
    ]
    assert links and all(link.startswith("#") for link in links)
    assert not {tag for tag, _ in found.elements} & {"script", "link", "img", "iframe", "object", "form", "base", "use"}
    assert not re.search(r"url\(|@import|http", "".join(found.styles))
    assert {link[1:] for link in links} <= {attrs.get("id") for _, attrs in found.elements}


def test_odd_and_half_runs_are_shown():
    for run in odd_runs():
        assert "</html>" in page(run)
        assert all(not obeyed(line) for line in summary(run))
    for run in ({}, {"module_results": {"a": None, "b": [], "c": {}}}):
        assert "this is what is known so far" in page(run)
        assert summary(run)[0] == "run ?, profile ?"


def test_the_bars_are_as_long_as_the_scores():
    found = Page(RUN)
    assert [percent(a["width"]) for a in found.classed("rect", "old")] == pytest.approx([62.4, 51.0])
    assert [percent(a["width"]) for a in found.classed("rect", "new")] == pytest.approx([71.2, 65.5])
    for score in ("0.624", "0.712", "0.510", "0.655"):
        assert score in found.text


@pytest.mark.parametrize(
    ("gain", "interval"), [(0.088, [0.021, 1.0]), (0.04, [-0.012, None]), (-0.03, [-0.3, 1.0]), (0.2, [-1.0, 0.5])]
)
def test_the_interval_stands_where_its_figures_say(gain, interval):
    found = Page(run_with(improvement=gain, interval=interval, balanced=None))
    [picture] = found.classed("svg", "zero")
    assert picture["aria-label"] == f"New minus old: measured {gain:+.3f}, at least {interval[0]:+.3f}"
    [dot] = found.classed("circle", "dot")
    line, end = found.classed("line", "range")
    low, middle = percent(line["x1"]) - 50, percent(dot["cx"]) - 50
    assert low / middle == pytest.approx(interval[0] / gain, rel=0.01)
    assert -50 <= low and middle <= 50 and end["x1"] == end["x2"] == line["x1"]
    if interval[1] in (None, 1.0):
        assert line["x2"] == "100%"
    else:
        assert (percent(line["x2"]) - 50) / middle == pytest.approx(interval[1] / gain, rel=0.01)


def test_a_small_difference_is_not_shown_as_none():
    assert "at least +0.0004 (error chance 1 in 200)" in Page(run_with(interval=[0.0004, 1.0])).text


def test_every_figure_is_told():
    text = Page(RUN).text
    for told in (
        "201 to learn from (train), 102 to choose by (validation), 118 sealed (test), these from 64 conversations",
        "30 asked of the teacher, 3 became candidates. 22 did no better",
        "4 × quoted a customer; 1 × LMError.",
        "1,853 answers scored (metric calls) in 4 min 12 s",
        "The module had 3 sealed tests before",
        "Answers that failed72",
        "812931",
        "412.3 ms430.9 ms",
        "2,410 recorded decisions",
        "gemma3:4b",
        "qwen3:8b",
    ):
        assert told in text, told
    assert "no substitute for a real language model" not in text
    assert "no substitute for a real language model" in Page({**RUN, "engine": "embedded"}).text


def test_the_diff_has_signs_beside_colours():
    source = page(RUN)
    lines = [re.sub(r"<[^>]*>", "", line) for line in re.findall(r'<div class="(?:add|cut|kept)">.*', source)]
    assert lines == [
        " Read the message.",
        "−Choose refund when the customer asks for money.",
        "+Choose refund when the customer asks for money back.",
        "−Otherwise choose none.",
        "+Say low confidence in doubt.",
    ]
    assert "<b>money back.</b>" in source


def test_an_endless_text_is_cut_with_a_note():
    found = Page(
        run_with(instruction={"old": "word " * 10**5, "new": "x" * 10**6}, reason="y" * 10**6, version="z" * 999)
    )
    assert len(found.source) < 60_000
    assert "(988,000 more characters)" in found.text and "(10,000 more characters)" in found.text
    many = Page(run_with(instruction={"old": "", "new": "a\n" * 5000}))
    assert "(4,600 more sentences)" in many.text
    assert max(map(len, summary(run_with(status="error", reason="y" * 10**6)))) < 1000


def test_a_change_that_is_not_shown_is_not_hidden():
    for old, new in ((OLD, OLD.replace(". ", ".\n\n")), ("x" * 13_000 + "a", "x" * 13_000 + "b")):
        found = Page(run_with(instruction={"old": old, "new": new}))
        assert "they differ in white space, or beyond what is shown here" in found.text
    assert "Old and new instruction are the same." in Page(run_with(instruction={"old": OLD, "new": OLD})).text


def test_a_customers_data_is_not_shown():
    finds = [{"kind": "words", "why": "7 words in a row"}, {"kind": "words", "why": "7 words in a row"}]
    found = Page(run_with(status="rejected", finds=finds))
    assert "The new instruction is not shown" in found.text and "7 words in a row (2 times)" in found.text
    assert "money back" not in found.source and "asks for money" not in found.source


def test_the_tree_tells_who_comes_from_whom():
    found = Page(RUN)
    order = ["0 (the old one): 0.610", "1: 0.640, from 0", "3: 0.731, from 1, best", "2: 0.620, from 0"]
    places = [found.text.index(label) for label in order]
    assert places == sorted(places)
    assert len(found.classed("circle", "best")) == 1 and len(found.classed("path", "branch")) == 3


def test_a_tree_that_is_none_ends():
    circle = [{"candidate": n, "parent": p, "val_score": 0.5} for n, p in ((1, 1), (2, 3), (3, 2), (4, 99), (5, "x"))]
    found = Page(run_with(lineage=circle))
    assert len(found.classed("circle", "node")) == 5 and len(found.classed("path", "branch")) == 1
    chain = [{"candidate": n, "parent": n - 1 or None, "val_score": 0.5} for n in range(1, 1000)]
    assert f"{999 - MOST_CANDIDATES} more are not shown" in Page(run_with(lineage=chain)).text


def test_how_to_go_back_is_told():
    assert "understudy rollback conflict v1.0" in Page(RUN).text
    assert summary(RUN)[-2] == "kept from the teacher, conflict: 12 customer, 3 email"
    assert "12 customer, 3 email" in Page(RUN).text
    assert summary(RUN)[-1] == "to go back: understudy rollback conflict v1.0"
    for parent in (None, "", "; rm -rf ~", "--all"):
        run = run_with(parent=parent)
        assert summary(run)[-1] == "to go back: understudy rollback MODULE VERSION"
    assert "there is nothing to go back from" in Page(run_with(status="candidate")).text
