"""The web chat watched end to end: a customer writes, the reply streams, that it helped gets into the gym."""

import time
from pathlib import Path

from playwright.sync_api import Page, expect

from understudy.tests.examples.test_chat_app import example, rows, served

HOSTILE = "<img src=x onerror=\"document.title='obeyed'\"> How much is a full clean?"

WATCH = """() => {
  window.seen = [];
  const look = () => window.seen.push(document.querySelector("#log .agent")?.textContent ?? "");
  new MutationObserver(look).observe(document.getElementById("log"), {childList: true, subtree: true});
}"""
"""Writes down how much of the reply there was after each change."""


def test_a_customer_chats_and_what_came_of_it_is_in_the_gym(page: Page, home: Path) -> None:
    with served() as (port, app):
        page.goto(f"http://127.0.0.1:{port}")
        page.evaluate(WATCH)
        page.get_by_label("Your message").fill(HOSTILE)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="That helped").click()
        expect(page.get_by_role("status")).to_contain_text("Thank you")
        assert page.locator("#log .customer").inner_text() == HOSTILE and page.title() == "Chat with us"
        reply = example.answer(HOSTILE)
        assert page.locator("#log .agent").inner_text() == reply.text
        parts = [part for part in page.evaluate("window.seen") if part]
        assert len(set(parts)) == len(reply.text.split()) and all(reply.text.startswith(part) for part in parts)
        for _ in range(600):
            if rows("SELECT count(*) FROM brain_decisions WHERE workflow_outcome IS NOT NULL") == [(1,)]:
                break
            time.sleep(0.05)
        assert app.losses == {}
    asked = "SELECT user_message, response_sent, action_taken, workflow_outcome, user_satisfaction FROM brain_decisions"
    assert rows(asked) == [(HOSTILE, reply.text, "quote_price", "success", 1.0)]
