"""The dashboard in a browser: every page loads in light and dark, asks before it acts, and shows texts as texts."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from understudy.benchmarks.dev_server import DevServer
from understudy.embed import Understudy
from understudy.nodes.ab_life import begin
from understudy.nodes.brain import Brain
from understudy.settings import Settings
from understudy.tests.browser.chromium import SCHEMES, off_the_loop
from understudy.tests.nodes.test_ab_test import MISLED, save

HOSTILE = "<img src=x onerror=\"document.title='obeyed'\"> {{ 7 * 7 }} \x1b[2J\u202e `code`"
SHOWN = "<img src=x onerror=\"document.title='obeyed'\"> {{ 7 * 7 }} \\x1b[2J\\u202e `code`"

PARENT = "<i>c</i>/1?a#b"
"""A conversation's id, as a host may choose it."""

PAGES = {
    "/": "Not ready yet",
    "/conversations": "observed last",
    "/conversations/one?id=dt-001": "what the brain said",
    "/conversations/one?id=nobody": "It may have been erased.",
    "/review": "What does the customer want?",
    "/versions": "conflict",
    "/versions/conflict": "What changed in the instruction",
    "/ab": "No closed conversation has been compared yet.",
    "/dreams": "inquiry",
    "/jobs": "Last runs",
    "/settings": "BRAIN_PROFILE",
}


@pytest.fixture(scope="module")
def dashboard(served: DevServer) -> DevServer:
    """A server whose gym holds a dream, a run and a test, and a module with two versions; some texts are hostile."""
    off_the_loop(lambda: _fill(served.gym))
    return served


def _fill(gym: Path) -> None:
    files: Any = {"rl_gym_db_path": gym, "optimized_modules_dir": gym.parent / "optimized_modules"}
    brain = Brain(Settings(**files))
    assert brain.gym is not None
    with Understudy(brain.settings) as app:
        app.observe(PARENT, "hello")  # of what nobody has said there is no dream
    save(brain, "conflict", f"{MISLED}\n{HOSTILE}")
    begin(brain, "default", "conflict", "v0.0", "v1.0", name="<b>bold</b>")
    at = "2026-11-24T10:00:00.000Z"
    about = {"profile": "default", "started_at": at, "ended_at": at, "status": "success"}
    long = {**about, "run_id": "long", "reason": "The model server did not answer. " * 9, "status": "error"}
    brain.gym.runs.save({**long, "decisions_processed": 1, "optimized_count": 0, "module_results": {}})
    report = {"decisions_processed": 1, "optimized_count": 1, "module_results": {}}
    brain.gym.runs.save({**about, "run_id": "a/b", "reason": HOSTILE, **report})
    brain.gym.dreams.save_cycle(
        {**about, "cycle": "c", "dreams": 1, "replayed": 1, "invented": 0, "reasons": {"x<b>": 3}}
    )
    talk = {"messages": [{"role": "customer", "text": HOSTILE, "labels": {"intent": HOSTILE}}]}
    brain.gym.dreams.keep(
        [
            {
                "dream_id": name, "profile": "default", "cycle": "c", "kind": "replay", "parents": [PARENT],
                "lenders": [], "intent": "inquiry", "conversation": talk, "model": HOSTILE, "prompt_hash": "",
                "sketch": b"",
            }
            for name in ("folded", "open")
        ]
    )  # fmt: skip
    brain.gym.close()


NAMELESS = """() => [...document.querySelectorAll("main :is(a, button, input, select, img, svg, [role=img])")].filter(
  (one) => ![one.ariaLabel, one.alt, one.labels?.[0]?.textContent, one.textContent].some((name) => name?.trim())
).map((one) => one.outerHTML)"""
"""What can be used or looked at without a name that is read out."""


def test_every_page_loads_in_both_schemes_on_wide_screens_and_on_phones(dashboard: DevServer, page: Page) -> None:
    papers = {"light": "rgb(246, 247, 247)", "dark": "rgb(19, 24, 24)"}
    for path, says in PAGES.items():
        page.goto(f"{dashboard.url}/brain/ui{path}")
        page.get_by_text(says).first.wait_for()
        assert page.locator("header a[aria-current=page]").count() == 1 and page.locator("h1").count() == 1, path
        assert page.evaluate(NAMELESS) == []
        for width, scheme in itertools.product((400, 1280), SCHEMES):
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == papers[scheme]


def test_the_head_leads_to_every_page_and_can_be_skipped(dashboard: DevServer, page: Page) -> None:
    page.goto(f"{dashboard.url}/brain/ui/settings")
    heads = page.locator("header nav a").evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    assert heads == [f"/brain/ui{path}" for path in PAGES if path.count("/") == 1]
    page.locator("header nav").get_by_text("Versions", exact=True).click()
    page.get_by_role("link", name="Report").or_(page.get_by_role("button", name="Use v0.0")).first.wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Use v0.0"
    assert page.evaluate("getComputedStyle(document.activeElement).boxShadow") != "none", "one sees where one is"


def test_a_rollback_asks_first_and_works(dashboard: DevServer, page: Page) -> None:
    pointer = dashboard.gym.parent / "optimized_modules" / "default" / "conflict" / "latest.json"
    page.goto(f"{dashboard.url}/brain/ui/versions")
    page.get_by_role("button", name="Use v0.0").click()
    question = page.get_by_role("dialog")
    assert "v1.0 → v0.0 for conversations that begin a turn from now on" in question.inner_text()
    page.keyboard.press("Escape")
    question.wait_for(state="hidden")
    assert json.loads(pointer.read_text())["version"] == "v1.0"
    page.get_by_role("button", name="Use v0.0").dblclick()
    question.wait_for()
    page.keyboard.press("Escape")
    question.wait_for(state="detached")
    page.get_by_role("button", name="Use v0.0").click()
    page.get_by_role("dialog").get_by_role("button", name="Use v0.0").click()
    page.get_by_text("conflict: v0.0 is in use instead of v1.0").wait_for()
    moved = json.loads(pointer.read_text())
    assert (moved["version"], moved["history"][-1]["why"]) == ("v0.0", "by hand, in the dashboard")
    page.get_by_role("button", name="Use v1.0").click()
    page.get_by_role("dialog").get_by_role("button", name="Use v1.0").click()
    page.get_by_text("conflict: v1.0 is in use instead of v0.0").wait_for()


def test_hostile_texts_stay_texts(dashboard: DevServer, page: Page) -> None:
    for path in ("/jobs", "/versions/conflict", "/dreams"):
        page.goto(f"{dashboard.url}/brain/ui{path}")
        page.get_by_text(SHOWN).first.wait_for()
        assert page.locator("main img").count() == 0 and "obeyed" not in page.title()
    folded = page.locator("details.dream").nth(1)
    assert folded.locator(".bubble").count() == 0
    folded.locator("summary").focus()
    page.keyboard.press("Enter")
    folded.locator(".bubble .said").get_by_text(SHOWN).wait_for()
    assert page.locator("main img").count() == 0 and "obeyed" not in page.title()
    parent = folded.get_by_role("link", name=PARENT)
    assert parent.get_attribute("href") == "/brain/ui/conversations/one?id=%3Ci%3Ec%3C%2Fi%3E%2F1%3Fa%23b"
    page.goto(f"{dashboard.url}/brain/ui/ab")
    page.get_by_text("<b>bold</b>, profile default").wait_for()


def test_a_test_is_stopped_and_begun(dashboard: DevServer, page: Page) -> None:
    page.goto(f"{dashboard.url}/brain/ui/ab")
    page.get_by_role("button", name="Begin the test").click()
    page.get_by_text("'<b>bold</b>' tests v0.0 against v1.0 of conflict already").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop the test").click()
    page.get_by_text("<b>bold</b>: stopped by hand; v1.0 stays in use").wait_for()
    page.get_by_text("No test runs").wait_for()
    page.get_by_role("button", name="Begin the test").click()
    page.get_by_text("default-conflict-v0.0-v1.0: v0.0 against v1.0").wait_for()


def test_a_long_reason_leaves_room_for_what_stands_beside_it(dashboard: DevServer, page: Page) -> None:
    page.goto(f"{dashboard.url}/brain/ui/jobs")
    row = page.locator("tr", has_text="did not answer")
    for beside in (row.locator("th"), row.get_by_role("link", name="Report")):
        room = beside.evaluate("(one) => one.getBoundingClientRect().width")
        assert room > 40


def test_a_report_opens_on_its_own_and_may_run_nothing(dashboard: DevServer, page: Page) -> None:
    page.goto(f"{dashboard.url}/brain/ui/jobs")
    with page.expect_popup() as opened:
        page.get_by_role("row", name="obeyed").get_by_role("link", name="Report").click()
    assert opened.value.title() == "Optimisation a/b"
    answer = page.request.get(opened.value.url)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


def test_what_is_not_there_is_said_with_a_way_on(dashboard: DevServer, page: Page, complaints: list[str]) -> None:
    for path in ("/nowhere", "/reports/nowhere", "/ab?skip=many"):
        answer = page.goto(f"{dashboard.url}/brain/ui{path}")
        assert answer is not None and answer.status == 404
        page.get_by_text("There is no page of that name.").wait_for()
    page.get_by_text("Go to ").click()
    page.locator("header a[aria-current=page]").wait_for()
    page.goto(f"{dashboard.url}/brain/ui/versions/mood")
    page.get_by_text("no module 'mood'; there are conflict").wait_for()
    assert len(complaints) == 3 and all("404" in said for said in complaints)
    complaints.clear()


def test_nothing_is_written_beside_the_gym(dashboard: DevServer, page: Page) -> None:
    page.goto(f"{dashboard.url}/brain/ui/settings")
    page.get_by_text("BRAIN_PROFILE").wait_for()
    assert not (dashboard.gym.parent / ".nicegui").exists()
    assert page.context.cookies() == []
