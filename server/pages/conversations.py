"""The list of conversations: found by profile, outcome, faults and how the id begins, fifty at a time."""

from collections.abc import Mapping
from typing import Any

from nicegui import ui
from nicegui.element import Element
from pydantic import ValidationError

from understudy.intake import shape_error
from understudy.nodes.brain import Brain
from understudy.optimize import gym_of
from understudy.server.pages.beside import moment_of
from understudy.server.pages.conversation import address, ending, waits_and_faults
from understudy.server.pages.frame import ROOT, Tag, asked, empty, page, section
from understudy.server.reading import ConversationQuery, conversation_page
from understudy.server.shown import ConversationPage, Summary

FIRST = (
    "Show the understudy a chat: in your app, `from understudy import Understudy`, then"
    " `Understudy().observe('chat-7', 'Can you take my van on Friday?')`, and let `understudy serve` read it. Or replay"
    " recorded conversations, one a line: `understudy replay conversations.jsonl`."
)
OUTCOMES = {"": "any", "success": "success", "failure": "failure", "abandoned": "abandoned", "open": "not ended"}


@page("/conversations")
async def conversations(
    profile: str = "", prefix: str = "", outcome: str = "", faults: str = "", before: str = ""
) -> None:
    """Show conversations, those that began last first."""
    given = {"profile": profile, "prefix": prefix, "outcome": outcome, "faults": faults, "before": before}
    wanted = {name: value for name, value in given.items() if value}
    try:
        query = ConversationQuery.model_validate(wanted)
    except ValidationError as error:
        empty("This cannot be asked.", shape_error(error))
        return
    found, profiles = await asked(lambda brain: _found(brain, query))
    is_filtered = bool(wanted.keys() - {"before"})
    if not found.conversations and not wanted:
        with section("Conversations"):
            empty("No conversation has been observed yet.", FIRST)
        return
    with section("Conversations", "Those that began last come first. Times are UTC."):
        _filters(given, profiles)
        for one in found.conversations:
            _row(one)
        if not found.conversations:
            empty("No conversation is like that.", "Ask for less, or look at all of them.")
        with ui.element("nav").classes("pages").props("aria-label=Pages-of-conversations"):
            if is_filtered or before:
                ui.link("All of them" if is_filtered else "Newest", "/conversations")
            if found.next:
                ui.link("Older", f"/conversations?{found.next.partition('?')[2]}")


def _found(brain: Brain, query: ConversationQuery) -> tuple[ConversationPage, list[str]]:
    gym = gym_of(brain)
    return conversation_page(gym, query), gym.browsing.profiles()


def _row(one: Summary) -> None:
    """Write a conversation: a link with its id, how it began, and what became of it."""
    with ui.element("article").classes("talk"):
        with ui.link(target=address(one.conversation_id)):
            Tag("span", one.conversation_id)
        Tag("p", one.first_message or "").classes("first")
        with ui.element("p").classes("about dots"):
            if one.began_at:
                Tag("span", moment_of(one.began_at))
            Tag("span", f"{one.turns} turn{'s' * (one.turns != 1)}")
            ending(one)
            waits_and_faults(one)


def _filters(given: Mapping[str, str], profiles: list[str]) -> None:
    """Write a form that asks for the page anew, so that what is asked for is in its address."""
    form = ui.element("form").classes("filters").props("method=get")
    form.props["action"] = f"{ROOT}/conversations"
    with form:
        _choice("Ended", "outcome", OUTCOMES, given["outcome"])
        _choice("Faults", "faults", {"": "any", "true": "with faults", "false": "without"}, given["faults"])
        if len(profiles) > 1:
            _choice("Profile", "profile", {"": "any", **{name: name for name in profiles}}, given["profile"])
        with ui.element("label"):
            Tag("span", "Id begins with")
            _with(ui.element("input"), type="search", name="prefix", value=given["prefix"], maxlength=200)
        _with(Tag("button", "Show"), type="submit")


def _choice(label: str, name: str, choices: Mapping[str, str], chosen: str) -> None:
    with ui.element("label"):
        Tag("span", label)
        with _with(ui.element("select"), name=name):
            for value, text in choices.items():
                _with(Tag("option", text), value=value, **({"selected": True} if value == chosen else {}))


def _with(element: Element, **attributes: Any) -> Element:
    """Give an element attributes whose values are not ours, so that they are not read as more of them."""
    for name, value in attributes.items():
        element.props[name] = value
    return element
