"""What the last dream cycle made of real conversations, what was screened out and why, and the newest dreams."""

from typing import Annotated, Any, NamedTuple

from fastapi import Query
from nicegui import ui

from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.recall import why_not
from understudy.server.pages.chat import bubble
from understudy.server.pages.conversation import address
from understudy.server.pages.figures import bars, counted, lasted, number, when, words
from understudy.server.pages.frame import Tag, asked, empty, facts, heading, link, page, section
from understudy.server.reading import LARGEST

SHOWN = 20
"""Dreams on a page."""

FEW = 2000
"""Conversations up to which it is looked whether they are enough; of more, `understudy dream` itself says it."""

REASONS = {
    "other_intent": "it was about something else than planned",
    "other_conflict": "another conflict than planned",
    "customer_data": "it held a customer's data",
    "near_duplicate": "too like a real conversation, or a dream",
    "off_profile": "not about what the profile is about",
    "empty_message": "an empty message",
    "one_sided": "one side alone spoke",
    "too_short": "too short",
    "too_long": "too long",
    "unreadable": "not readable",
}


class Dreams(NamedTuple):
    """The last cycle, dreams the newest first, how many there are, and what keeps the profile from being dreamt of."""

    cycle: dict[str, Any] | None
    newest: list[dict[str, Any]]
    stored: int
    missing: str | None


@page("/dreams")
async def dreams(upto: Annotated[int | None, Query(ge=0, le=LARGEST)] = None) -> None:
    """Show the last cycle and the newest dreams."""
    found = await asked(lambda brain: dreams_of(brain, upto))
    heading(
        "Dreams",
        "Invented conversations, so that rare matters are learnt as well. They serve for training only: no test, no A/B"
        " and no figure of this dashboard counts them.",
    )
    with section("The last cycle"):
        _cycle(found)
    if found.newest:
        with section("The newest dreams" if upto is None else "Older dreams"):
            for n, dream in enumerate(found.newest[:SHOWN]):
                _dream(dream, is_open=n == 0)
    if len(found.newest) > SHOWN:
        link("Older dreams", f"/dreams?upto={found.newest[SHOWN]['id']}")


def dreams_of(brain: Brain, upto: int | None = None) -> Dreams:
    """Return what there is of the profile of BRAIN_PROFILE; no dream above the row `upto`."""
    gym, profile = gym_of(brain), brain.profile(None).name
    cycle, count = gym.dreams.report(profile), gym.dreams.count(profile)
    newest = gym.dreams.newest(profile, SHOWN + 1, upto)
    missing = cycle.get("reason") if cycle and cycle.get("status") == "skipped" else None
    if cycle is None and gym.counts()["conversations"] <= FEW:
        missing = why_not(brain)
    return Dreams(cycle, newest, count, missing)


def _cycle(found: Dreams) -> None:
    cycle = found.cycle
    if cycle is None or (found.missing and not found.stored):
        begin = "`understudy dream` begins a cycle; by itself one comes every DREAM_INTERVAL_HOURS."
        empty(
            "Nothing has been dreamt yet.",
            f"It takes more to dream of: {found.missing}. A conversation closes with its outcome, or when it is silent"
            " for long."
            if found.missing
            else begin,
        )
        return
    if found.missing:
        Tag("p", f"It dreamt nothing: {found.missing}.").classes("warn")
    kept = {
        "Kept: a real conversation told anew": cycle.get("replayed") or 0,
        "Kept: invented": cycle.get("invented") or 0,
    }
    dropped = {f"Dropped: {_reason(why)}": count for why, count in (cycle.get("reasons") or {}).items()}
    bars({**kept, **dropped}, ("What became of what was dreamt", "Dreams"))
    facts(
        {
            "Began": f"{when(cycle.get('started_at'))}, took {lasted(cycle.get('started_at'), cycle.get('ended_at'))}",
            "Kept": f"{number(cycle.get('dreams'))} of this cycle, {found.stored:,} of all",
            **({"Note": cycle["reason"]} if cycle.get("reason") and not found.missing else {}),
        }
    )


def _reason(why: str) -> str:
    return REASONS.get(why, f"the model failed ({why})" if why.startswith("fault") else words(why))


def _dream(dream: dict[str, Any], is_open: bool) -> None:
    """Write the head of a dream, and all of it once somebody unfolds it: twenty whole ones are a thousand elements."""
    messages = dream["conversation"].get("messages") or []
    with ui.element("details").classes("dream item").props("open" if is_open else "") as folded:
        with ui.element("summary"):
            Tag("b", words(dream["intent"]))
            Tag("span", "told anew" if dream["kind"] == "replay" else "invented").classes("tag")
            Tag("span", messages[0].get("text", "") if messages else "").classes("about first")

    def fill() -> None:
        if len(folded.default_slot.children) == 1:
            with folded:
                _all(dream, messages)

    if is_open:
        fill()
    else:
        folded.on("toggle", fill)


def _all(dream: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    with ui.element("p").classes("about row"):
        Tag("span", f"{counted(len(messages), 'message')}, {when(dream.get('at'))}, by {dream.get('model') or '–'}")
        if dream["parents"]:
            Tag("span", "made from")
        for parent in dream["parents"]:
            link(parent, address(parent))
    with ui.element("div").classes("chat"):
        for message in messages:
            _message(message)


def _message(message: dict[str, Any]) -> None:
    """Write what a side says, and what was planned of it."""
    labels = (message.get("labels") or {}).values() or (message.get("action") or "",)
    bubble(str(message.get("role")), message.get("text"), *map(words, labels))
