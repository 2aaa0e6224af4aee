"""The pages of conversations in a real browser: hostile text stays text, links lead right, erasing asks first."""

from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Page

from understudy.benchmarks.dev_server import DevServer
from understudy.embed import Understudy
from understudy.observing import thread_of
from understudy.settings import Settings
from understudy.tests.browser.chromium import off_the_loop

ID = "weird/<img src=x onerror=alert(3)>?a=1&b#c"
TEXT = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202egpj.exe {{ 7*7 }} **bold**\nsecond line"
CUSTOMER = {"name": "<b>Ines</b>", "W" * 80: "long"}
HEBREW = "\u05e9\u05dc\u05d5\u05dd (abc)!"


@pytest.fixture(scope="module")
def home_url(served: DevServer) -> str:
    """The dashboard on a gym that holds a hostile conversation as well."""

    def say() -> None:
        with Understudy(Settings(rl_gym_db_path=served.gym)) as app:
            app.observe(ID, TEXT, customer=CUSTOMER)
            app.replied(ID, "ok", action="greet")
            app.replied(ID, HEBREW)

    off_the_loop(say)
    return f"{served.url}/brain/ui/conversations"


def test_hostile_text_stays_text_in_the_list_and_in_its_conversation(home_url: str, page: Page) -> None:
    page.goto(home_url)
    row = page.locator("article", has_text="weird/")
    assert row.locator("a").inner_text() == ID
    assert "<script>alert(1)</script><img src=x onerror=alert(2)> \\u202egpj.exe" in row.inner_text()
    row.locator("a").click()
    said = page.locator(".bubble.customer .said")
    said.wait_for()
    assert said.inner_text() == TEXT.replace("\u202e", "\\u202e")
    assert page.locator("h1").inner_text() == ID and page.title() == f"{ID} - Conversations - understudy"
    assert page.locator(".facts dd").first.inner_text() == CUSTOMER["name"]
    assert page.locator("main img, main script, main b").count() == 0


def test_long_words_fit_a_phone_and_text_runs_the_way_it_is_written(home_url: str, page: Page) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(f"{home_url}?prefix={'W' * 300}")
    page.get_by_text("at most 200 characters").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(f"{home_url}/one?id={quote(ID, safe='')}")
    said = page.get_by_text(HEBREW)
    said.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    place = """(said, at) => { const range = document.createRange(); range.setStart(said.firstChild, at);
      range.setEnd(said.firstChild, at + 1); return range.getBoundingClientRect().left }"""
    assert said.evaluate(place, len(HEBREW) - 1) < said.evaluate(place, HEBREW.index("a")), (
        "the mark at the end stands on the left"
    )


def test_studio_and_the_state_are_one_click_away(home_url: str, page: Page, served: DevServer) -> None:
    page.goto(f"{home_url}/one?id=dt-001")
    link = urlsplit(page.get_by_text("Open in Studio").get_attribute("href") or "")
    assert link.netloc == "smith.langchain.com" and link.path == f"/studio/thread/{thread_of('dt-001')}"
    assert parse_qs(link.query) == {"baseUrl": [served.url]}
    page.locator("summary", has_text="its run").first.click()
    state = page.get_by_text("State at this turn").first.get_attribute("href") or ""
    assert state.startswith(f"{served.url}/threads/{thread_of('dt-001')}/state/")


def test_what_is_asked_for_is_in_the_address(home_url: str, page: Page) -> None:
    page.goto(home_url)
    page.get_by_label("Ended").select_option("open")
    page.get_by_label("Id begins with").fill("weird/<")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**prefix=weird*")
    assert page.locator("article").count() == 1
    assert page.get_by_label("Ended").input_value() == "open"
    assert page.get_by_label("Id begins with").input_value() == "weird/<"
    page.get_by_role("link", name="All conversations").click()
    page.wait_for_url("**/brain/ui/conversations")
    page.goto(f"{home_url}?outcome=won")
    assert "outcome" in page.locator(".empty").inner_text()


def test_a_conversation_is_forgotten_only_when_asked_twice(home_url: str, page: Page, served: DevServer) -> None:
    page.goto(f"{home_url}/one?id=dt-003")
    page.get_by_role("button", name="Forget this conversation").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    assert served.answer("/brain/conversations/dt-003")[0] == 200
    page.get_by_role("button", name="Forget this conversation").click()
    page.get_by_role("dialog").get_by_role("button", name="Forget it").click()
    page.get_by_text("1 conversation erased").wait_for()
    assert served.answer("/brain/conversations/dt-003")[0] == 404
