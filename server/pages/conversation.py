"""One conversation: the chat as it was, and beside each turn what the brain saw and would have said."""

import asyncio
import re
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from nicegui import ui

from understudy.forgetting import MOST_REWRITTEN, forget
from understudy.intake import UnderstudyError
from understudy.nodes.brain import Brain, own_brain
from understudy.optimize import gym_of
from understudy.server.guard import STUDIO
from understudy.server.pages.beside import NEAR, beside, moment_of, values_of
from understudy.server.pages.frame import Tag, asked, empty, facts, page, section
from understudy.server.problems import Problem
from understudy.server.reading import LARGEST, one_conversation
from understudy.server.shown import Conversation, Happened, Suggestion, Summary

MOST_EVENTS = 20
"""Events on a page: some eight turns. A browser has some hundred elements to show of each."""

_ABOUT = f"Nobody was sent that. A number is called right within {NEAR} of the true one."

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
        empty("There is no such conversation, or no such turn of it.", "It may have been erased.")
        ui.link("All conversations", "/conversations")
        return
    server = f"{request.url.scheme}://{request.headers['host']}"
    _head(found, customer, server)
    seen = {one.turn: one for one in found.seen}
    with section("The chat", f"As it was, and beside it what the brain saw and would have said. {_ABOUT}"):
        for number, events in groupby(found.happened, lambda event: event.turn):
            with ui.element("div").classes("turn"):
                with ui.element("div").classes("chat"):
                    for event in events:
                        _event(event)
                if number in seen:
                    beside(seen[number], server)
        _pages(found)


def address(conversation_id: str, **more: int) -> str:
    """Return a link's target, below ROOT: where a conversation is shown. An id may hold anything: it is no path."""
    return f"/conversations/one?{urlencode({'id': conversation_id, **more}, quote_via=quote)}"


def ending(one: Summary) -> None:
    """Say how a conversation ended, if it has."""
    tone = {"success": "good", "failure": "bad", "abandoned": "warn"}
    said = one.workflow_outcome or ("ended" if one.is_closed else "not ended")
    Tag("span", said).classes(tone.get(said, ""))
    if one.user_satisfaction is not None:
        Tag("span", f"satisfaction {one.user_satisfaction:.2g}")


def waits_and_faults(one: Summary) -> None:
    """Say how many turns of a conversation wait or lack an answer, if any."""
    if one.waiting:
        Tag("span", f"{one.waiting} turn{'s' * (one.waiting != 1)} not read yet").classes("warn")
    if one.faulty:
        Tag("span", f"{one.faulty} turn{'s' * (one.faulty != 1)} with faults").classes("bad")


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _found(brain: Brain, conversation_id: str, after: int, turn: int | None) -> tuple[Conversation, Any]:
    gym = gym_of(brain)
    found = one_conversation(gym, conversation_id, after, MOST_EVENTS, turn)
    return found, gym.customer(conversation_id, LARGEST)


def _head(found: Conversation, customer: Any, server: str) -> None:
    """Say what conversation it is, who speaks, where LangGraph has it, and let it be forgotten."""
    with section(found.conversation_id):
        with ui.element("p").classes("about dots"):
            for text in (found.profile, found.began_at and f"{moment_of(found.began_at)} UTC"):
                if text:
                    Tag("span", text)
            Tag("span", f"{found.turns} turn{'s' * (found.turns != 1)}")
            ending(found)
            waits_and_faults(found)
        if customer:
            Tag("h3", "Customer")
            facts(values_of(customer))
        with ui.element("p").classes("dots"):
            base = urlencode({"baseUrl": server})
            ui.link("Open in Studio", f"{STUDIO}/studio/thread/{found.thread_id}?{base}", new_tab=True)
            ui.link("State of its thread", f"{server}/threads/{found.thread_id}/state", new_tab=True)
            forgetting = Tag("button", "Forget this conversation").classes("danger")
        with ui.element("p").classes("about"):
            Tag("span", "The server lists a thread as long as it runs. After a restart, make it again with its old id,")
            Tag("span", " and it has its states: POST /threads with ")
            Tag("code", f'{{"thread_id": "{found.thread_id}", "metadata": {{"graph_id": "shadow"}}}}')
        forgetting.on("click", _forget_dialog(found).open)


def _event(event: Happened) -> None:
    """Write a message, or what else happened."""
    if event.kind == "outcome":
        ended = ", ".join(f"{name}: {value}" for name, value in values_of(event.payload).items())
        Tag("p", f"It ended. {ended}").classes("note")
        return
    if event.kind == "label":
        who = event.payload.get("author") or ("the teacher" if event.payload.get("source") == "teacher" else "a person")
        fields = ", ".join(event.payload.get("fields", ()))
        Tag("p", f"Turn {event.payload.get('turn')} was labelled by {who}: {fields}").classes("note about")
        return
    side = "customer" if event.kind == "customer_message" else "agent"
    with ui.element("div").classes(f"bubble {side}"):
        with ui.element("p").classes("about dots"):
            Tag("span", "Customer" if side == "customer" else "Agent")
            if event.at:
                Tag("span", moment_of(event.at))
            if event.action:
                Tag("code", event.action)
        Tag("p", event.text or "").classes("said")
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
            "why": one.reason or one.reasoning,
            "changed": ", ".join(map(str, one.modifications)),
            "version": one.version,
            "reviewed": None if one.was_better is None else reviewed[one.was_better],
        }
        facts({name: value for name, value in rows.items() if value})


def _pages(found: Conversation) -> None:
    """Write the links to other parts of a long conversation."""
    begins = found.happened[0].seq if found.happened else 0
    if not begins and not found.next:
        return
    with ui.element("nav").classes("pages").props("aria-label=Parts-of-the-conversation"):
        if begins:
            ui.link("Beginning", address(found.conversation_id))
            if begins > MOST_EVENTS:
                ui.link("Earlier", address(found.conversation_id, after=begins - MOST_EVENTS - 1))
        if found.next:
            ui.link("Later", address(found.conversation_id, after=found.happened[-1].seq))
            ui.link("End", address(found.conversation_id, after=max(0, found.events - MOST_EVENTS - 1)))


def _forget_dialog(found: Conversation) -> ui.dialog:
    """Return what asks before the conversation is erased, and tells what was erased."""
    with ui.dialog() as dialog, ui.element("div").classes("asks"):  # Quasar lets only a div be clicked
        Tag("h2", found.conversation_id)
        with ui.element("div") as told:
            Tag("p", "Forget this conversation?").classes("what")
            Tag(
                "p",
                "Erased for good are its messages, decisions, evidence and labels, suggestions, checkpoints, dreams"
                " made of it, and reports and files of runs that may quote it. What it brought to an A/B test stays as"
                " numbers without its name. Versions that learnt from it stay; they are named afterwards.",
            )
            with ui.element("p").classes("about"):
                Tag("span", "Then the gym's file is written anew, which holds writers up for some seconds a GB.")
                Tag("span", f" A file of over {MOST_REWRITTEN // 1_000_000} MB is left to ")
                Tag("code", "understudy forget --rewrite")
                Tag("span", ". Backups and exports are yours to see to.")
            with ui.element("p").classes("dots"):
                sure = Tag("button", "Forget it").classes("danger")
                Tag("button", "Keep it").on("click", dialog.close)

    async def forgotten() -> None:
        told.clear()
        with told:
            Tag("p", "Erasing ...")
        try:
            report = await asyncio.to_thread(lambda: forget(own_brain(), [found.conversation_id]))
        except UnderstudyError as error:
            report = {"reason": f"Nothing more was erased: {error}"}
        told.clear()
        with told:
            _report(report)

    sure.on("click", forgotten)
    return dialog


def _report(report: dict[str, Any]) -> None:
    """Tell what was erased, and which versions learnt from it."""
    Tag("p", report["reason"])
    for one in report.get("versions", ()):
        with ui.element("p"):
            Tag("span", f"{one['module']} {one['version']} learnt from it. To erase that version as well: ")
            Tag("code", one["retire"])
    ui.link("All conversations", "/conversations")
