"""The list of conversations: found by profile, outcome, faults and how the id begins, fifty at a time."""

from collections.abc import Mapping

from nicegui import ui
from pydantic import ValidationError

from understudy.intake import shape_error
from understudy.nodes.brain import Brain, gym_of
from understudy.server.pages.acting import chooser, entry, given
from understudy.server.pages.conversation import about, address
from understudy.server.pages.frame import ROOT, Tag, asked, empty, heading, link, page
from understudy.server.reading import ConversationQuery, conversation_page
from understudy.server.shown import ConversationPage, Summary

FIRST = (
    "Show the understudy a chat: in your app, `from understudy import Understudy`, then"
    " `Understudy().observe('chat-7', 'Can you take my van on Friday?')`, and let `understudy serve` read it. Or replay"
    " recorded conversations, one a line: `understudy replay conversations.jsonl`."
)
OUTCOMES = {"": "any", "success": "success", "failure": "failure", "abandoned": "abandoned", "open": "not ended"}
FAULTS = {"": "any", "true": "with faults", "false": "without"}


@page("/conversations")
async def conversations(
    profile: str = "", prefix: str = "", outcome: str = "", faults: str = "", before: str = ""
) -> None:
    """Show conversations, those that began last first."""
    every = {"profile": profile, "prefix": prefix, "outcome": outcome, "faults": faults, "before": before}
    wanted = {name: value for name, value in every.items() if value}
    heading("Conversations", "Those that were observed last come first; each shows the chat, and what the brain saw.")
    try:
        query = ConversationQuery.model_validate(wanted)
    except ValidationError as error:
        empty("This cannot be asked.", shape_error(error))
        link("All conversations", "/conversations")
        return
    found, profiles = await asked(lambda brain: _found(brain, query))
    is_filtered = bool(wanted.keys() - {"before"})
    with ui.element("section"):
        if not found.conversations and not wanted:
            empty("Nothing has been observed yet.", FIRST)
            return
        _filters(every, profiles)
        for one in found.conversations:
            _row(one)
        if not found.conversations:
            empty("No conversation is like that.", "Ask for less, or look at all of them.")
        with ui.element("div").classes("row ways"):
            if is_filtered or before:
                link("All conversations" if is_filtered else "Newest conversations", "/conversations")
            if found.next:
                link("Older conversations", f"/conversations?{found.next.partition('?')[2]}")


def _found(brain: Brain, query: ConversationQuery) -> tuple[ConversationPage, list[str]]:
    gym = gym_of(brain)
    return conversation_page(gym, query), gym.browsing.profiles()


def _row(one: Summary) -> None:
    """Write a conversation: a link with its id, what became of it, and how it began."""
    with ui.element("article").classes("item"):
        with ui.element("div").classes("row apart"):
            link(one.conversation_id, address(one.conversation_id))
            about(one)
        Tag("p", one.first_message or "").classes("first")


def _filters(chosen: Mapping[str, str], profiles: list[str]) -> None:
    """Write a form that asks for the page anew, so that what is asked for is in its address."""
    with given(ui.element("form").classes("fields"), method="get", action=f"{ROOT}/conversations"):
        given(chooser("Ended", OUTCOMES, chosen["outcome"]), name="outcome")
        given(chooser("Faults", FAULTS, chosen["faults"]), name="faults")
        if len(profiles) > 1:
            names = {"": "any", **{name: name for name in profiles}}
            given(chooser("Profile", names, chosen["profile"]), name="profile")
        entry("Id begins with", type="search", name="prefix", value=chosen["prefix"], maxlength=200)
        Tag("button", "Show").classes("act").props("type=submit")
