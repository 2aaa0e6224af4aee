"""The overview is looked at, and the review queue is worked through with the keyboard."""

import json
import sqlite3
from contextlib import closing
from typing import Any

from playwright.sync_api import Page, expect

from understudy.benchmarks.dev_server import DevServer

NAME = "label:has-text('Your name') input"


def labels(served: DevServer) -> list[tuple[Any, ...]]:
    """What people have said so far: field, value, author."""
    with closing(sqlite3.connect(f"file:{served.gym}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT field, value, author FROM evidence WHERE source = 'human' ORDER BY id")
        return [(field, json.loads(value), author) for field, value, author in rows]


def open_queue(page: Page, served: DevServer, field: str = "intent") -> str:
    """Open the queue, wait until it hears the keyboard, and return the message that it asks about."""
    page.goto(f"{served.url}/brain/ui/review?field={field}")
    expect(page.locator(NAME)).to_be_visible()
    page.wait_for_function("window.did_handshake === true")
    return page.inner_text(".asked .said")


def test_the_overview_says_what_is_missing(served: DevServer, page: Page) -> None:
    page.goto(f"{served.url}/brain/ui/")
    expect(page.locator("h1")).to_have_text("Not ready yet: too few closed conversations with evidence (all modules).")
    assert page.locator(".cards h2").all_inner_texts() == ["conflict", "intent", "quality", "goals", "response"]
    expect(page.locator(".cards section", has_text="conflict").locator(".missing").first).to_contain_text("of 30")
    expect(page.locator(".big")).to_contain_text("sent to customers")
    page.locator(".cards section", has_text="intent").first.get_by_role("link", name="Label turns").click()
    expect(page.get_by_role("heading", name="Review")).to_be_visible()


def test_a_label_is_given_and_taken_back_with_the_keyboard(served: DevServer, page: Page) -> None:
    before = labels(served)
    asked = open_queue(page, served)
    page.fill(NAME, "ada 17")
    page.press(NAME, "Tab")
    assert page.locator(".chosen").count() == 0, "what is typed into a field is no choice"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Enter")
    expect(page.locator(".status")).to_contain_text("Choose first")
    page.keyboard.press("4")
    expect(page.locator(".chosen")).to_contain_text("complaint")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Labelled today")).to_have_text("Labelled today: 1")
    assert labels(served) == [*before, ("intent", "complaint", "ada 17")]
    assert page.inner_text(".asked .said") != asked and page.locator(".chosen").count() == 0
    page.keyboard.press("u")
    expect(page.get_by_text("Labelled today")).to_have_text("Labelled today: 0")
    expect(page.locator(".asked .said")).to_have_text(asked)
    assert labels(served) == before
    page.reload()
    expect(page.locator(NAME)).to_have_value("ada 17")


def test_a_turn_is_skipped_and_the_brain_s_word_is_shown_when_asked_for(served: DevServer, page: Page) -> None:
    asked, before = open_queue(page, served), labels(served)
    expect(page.locator(".brain")).to_be_hidden()
    page.keyboard.press("b")
    expect(page.locator(".brain")).to_contain_text("next step: ")
    page.keyboard.press("s")
    expect(page.locator(".asked .said")).not_to_have_text(asked)
    expect(page.locator(".brain")).to_be_hidden()
    page.keyboard.press("u")
    expect(page.locator(".asked .said")).to_have_text(asked)
    assert labels(served) == before


def test_what_could_not_be_undone_is_still_the_next_to_be_undone(served: DevServer, page: Page) -> None:
    before = labels(served)
    open_queue(page, served, "user_satisfaction")
    for n, choice in enumerate(("1", "5"), 1):
        page.keyboard.press(choice)
        expect(page.locator(".chosen")).to_be_visible()
        page.keyboard.press("Enter")
        expect(page.get_by_text("Labelled today")).to_have_text(f"Labelled today: {n}")
    with closing(sqlite3.connect(served.gym, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        page.keyboard.press("u")
        expect(page.get_by_role("status")).to_contain_text("database is locked", timeout=20_000)
    page.keyboard.press("u")
    expect(page.get_by_role("status")).to_have_text("Undone.")
    assert labels(served) == [*before, ("user_satisfaction", 0.0, None)]
    page.keyboard.press("u")
    expect(page.get_by_text("Labelled today")).to_have_text("Labelled today: 0")
    assert labels(served) == before


def test_many_labels_have_numbers_and_can_be_looked_for(served: DevServer, page: Page) -> None:
    open_queue(page, served, "next_step")
    page.keyboard.type("10")
    expect(page.locator(".chosen")).to_have_text("10quote price")
    page.keyboard.press("/")
    expect(page.locator("input[type=search]")).to_be_focused()
    page.keyboard.type("apolog")
    expect(page.locator(".option:visible")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".chosen")).to_contain_text("apologise")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Labelled today")).to_have_text("Labelled today: 1")
    assert labels(served)[-1] == ("next_step", "apologise", None)
