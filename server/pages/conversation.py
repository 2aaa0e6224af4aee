"""One conversation: the chat as it was, and beside each turn what the brain saw and would have said."""

import re
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from nicegui import ui
from nicegui.element import Element

from understudy.forgetting import MOST_REWRITTEN, forget
from understudy.intake import UnderstudyError
from understudy.nodes.brain import Brain, gym_of
from understudy.server.guard import STUDIO
from understudy.server.pages.acting import button, confirmed
from understudy.server.pages.beside import NEAR, beside, values_of
from understudy.server.pages.chat import bubble
from understudy.server.pages.figures import counted, number, when, words
from understudy.server.pages.frame import Tag, asked, facts, heading, link, page, prose, section
from understudy.server.problems import Problem
from understudy.server.reading import LARGEST, one_conversation
from understudy.server.shown import Conversation, Happened, Suggestion, Summary

MOST_EVENTS = 20
"""Events on a page: some eight turns. A browser has some hundred elements to show of each."""

_ABOUT = (
    "Beside each message is what the brain said of it, and would have answered: nobody was sent that. A number within"
    f" {NEAR} of the true one is right."
)

_TOUCH = {
    "accepted": "What a personal touch would have made of it",
    "unchanged": "A personal touch would have changed nothing.",
    "rejected": "A personal touch was not good enough",
    "fault": "A personal touch gave no answer",
}


@page("/conversations/one")
async def conversation(request: Request, id: str = "", after: str = "", turn: str = "") -> None:
    """Show a page of a conversation: from its beginning, from behind an event, or from a turn."""
    begin, first = _number(after), _number(turn)
    try:
        found, customer = await asked(lambda brain: _found(brain, id, -1 if begin is None else begin, first))
    except Problem:
        heading("There is no such conversation, or no such turn of it.", "It may have been erased.")
        link("All conversations", "/conversations")
        return
    server = f"{request.url.scheme}://{request.headers['host']}"
    heading(found.conversation_id, named=f"{found.conversation_id[:80]} - Conversations")
    about(found, f"profile {found.profile}")
    with ui.element("div") as place:
        _head(found, customer, server, place)
        seen = {one.turn: one for one in found.seen}
        with section("The chat", _ABOUT):
            for n, events in groupby(found.happened, lambda event: event.turn):
                with ui.element("div").classes("turn"):
                    with ui.element("div").classes("chat"):
                        for event in events:
                            _event(event)
                    if n in seen:
                        beside(seen[n], server)
            _pages(found)


def address(conversation_id: str, **more: int) -> str:
    """Return a link's target, below ROOT: where a conversation is shown. An id may hold anything: it is no path."""
    return f"/conversations/one?{urlencode({'id': conversation_id, **more}, quote_via=quote)}"


def about(one: Summary, *more: str) -> None:
    """Say of a conversation when it began, how it ended, and how many turns of it wait or lack an answer."""
    tone = {"success": "good", "failure": "bad", "abandoned": "warn"}
    said = one.workflow_outcome or ("ended" if one.is_closed else "not ended")
    with ui.element("div").classes("about row"):
        began = [when(one.began_at)] if one.began_at else []
        Tag("span", " · ".join([*began, counted(one.turns, "turn")]))
        Tag("span", said).classes(tone.get(said, ""))
        if one.user_satisfaction is not None:
            Tag("span", f"satisfaction {number(one.user_satisfaction, 2)} of 1")
        if one.waiting:
            Tag("span", f"{counted(one.waiting, 'turn')} not read yet").classes("warn")
        if one.faulty:
            Tag("span", f"{counted(one.faulty, 'turn')} with faults").classes("bad")
        for text in more:
            Tag("span", text)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _found(brain: Brain, conversation_id: str, after: int, turn: int | None) -> tuple[Conversation, Any]:
    gym = gym_of(brain)
    found = one_conversation(gym, conversation_id, after, MOST_EVENTS, turn)
    return found, gym.customer(conversation_id, LARGEST)


def _head(found: Conversation, customer: Any, server: str, place: Element) -> None:
    """Say who speaks, where LangGraph has it, and let it be forgotten."""
    with section("The customer", "" if customer else "Nothing is known of the customer."):
        if customer:
            facts(values_of(customer))
        with ui.element("div").classes("row apart ways"):
            with ui.element("div").classes("row"):
                base = urlencode({"baseUrl": server})
                thread = quote(found.thread_id, safe="")  # a host may have chosen it
                ui.link("Open in Studio", f"{STUDIO}/studio/thread/{thread}?{base}", new_tab=True)
                ui.link("State of its thread", f"{server}/threads/{thread}/state", new_tab=True)
            button("Forget this conversation", lambda: _forgotten(found.conversation_id, place), "danger")
        with ui.element("details").classes("about"):
            Tag("summary", "Studio does not find it?")
            prose(
                "The server lists a thread as long as it runs. After a restart make it again under its old id, and it"
                " has its states: `POST /threads` with"
                f' `{{"thread_id": "{found.thread_id}", "metadata": {{"graph_id": "shadow"}}}}`'
            )


def _event(event: Happened) -> None:
    """Write a message, or what else happened."""
    if event.kind == "outcome":
        ended = ", ".join(f"{name}: {value}" for name, value in values_of(event.payload).items())
        Tag("p", f"It ended. {ended}").classes("note")
    elif event.kind == "label":
        who = event.payload.get("author") or ("the teacher" if event.payload.get("source") == "teacher" else "a person")
        fields = ", ".join(map(words, event.payload.get("fields", ())))
        Tag("p", f"Turn {event.payload.get('turn')} was labelled by {who}: {fields}").classes("note about")
    else:
        bubble(event.kind, event.text, when(event.at) if event.at else "", words(event.action or ""))
    if event.suggestion:
        _touch(event.suggestion)


def _touch(one: Suggestion) -> None:
    """Say what a personal touch would have made of a reply."""
    with ui.element("details").classes("note"):
        Tag("summary", _TOUCH.get(one.status, one.status))
        if one.status in ("accepted", "rejected") and one.personalized_message:
            Tag("p", one.personalized_message).classes("said")
        reviewed = {True: "a reviewer found it better", False: "a reviewer found it no better"}
        rows = {
            "Why": one.reason or one.reasoning,
            "Changed": ", ".join(map(str, one.modifications)),
            "Version": one.version,
            "Reviewed": None if one.was_better is None else reviewed[one.was_better],
        }
        facts({name: value for name, value in rows.items() if value})


def _pages(found: Conversation) -> None:
    """Write the links to other parts of a long conversation."""
    begins = found.happened[0].seq if found.happened else 0
    with ui.element("div").classes("row ways"):
        if begins:
            link("Beginning", address(found.conversation_id))
            if begins > MOST_EVENTS:
                link("Earlier", address(found.conversation_id, after=begins - MOST_EVENTS - 1))
        if found.next:
            link("Later", address(found.conversation_id, after=found.happened[-1].seq))
            link("End", address(found.conversation_id, after=max(0, found.events - MOST_EVENTS - 1)))


async def _forgotten(conversation_id: str, place: Element) -> None:
    """Ask, erase the conversation, and tell in place of it what was erased."""
    if not await confirmed(
        "Forget this conversation?",
        "Erased for good are its messages, decisions, evidence and labels, suggestions, checkpoints, dreams made of it,"
        " and reports and files of runs that may quote it. What it brought to an A/B test stays as numbers without its"
        " name. Versions that learnt from it stay; they are named afterwards. Then the gym's file is written anew,"
        f" which holds writers up for some seconds a GB; a file of over {MOST_REWRITTEN // 1_000_000} MB is left to"
        " `understudy forget --rewrite`. Backups and exports are yours to see to.",
        "Forget it",
        "danger",
    ):
        return
    place.clear()
    with place:
        Tag("p", "Erasing ...").props("role=status")
    report: dict[str, Any]
    try:
        report = await asked(lambda brain: forget(brain, [conversation_id]))
    except UnderstudyError as error:
        report = {"reason": f"Nothing more was erased: {error}"}
    place.clear()
    with place, ui.element("section"):
        Tag("p", report["reason"]).props("role=status")
        for one in report.get("versions", ()):
            prose(f"{one['module']} {one['version']} learnt from it. To erase that version as well: `{one['retire']}`")
        link("All conversations", "/conversations")
