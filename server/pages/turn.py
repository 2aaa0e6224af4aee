"""A turn as a reviewer sees it: the chat up to it, what really followed, and folded what the brain said."""

from nicegui import ui
from nicegui.element import Element

from understudy.events import BrainDecision
from understudy.nodes.modules import MODULES
from understudy.reviewing import Shown
from understudy.server.pages.beside import value_of
from understudy.server.pages.chat import bubble
from understudy.server.pages.figures import percent, words
from understudy.server.pages.frame import Tag


def turn(shown: Shown) -> Element:
    """Draw a turn, and return the part of it that is folded."""
    if shown.is_cut:
        Tag("p", "Earlier messages are left out.").classes("about")
    for line in shown.lines:
        bubble(line.kind, line.text, asked=line.seq == shown.decision.history_upto)
    _followed(shown.decision)
    folded = ui.element("div").classes("brain below")
    folded.set_visibility(False)
    with folded:
        _brain(shown.decision)
    return folded


def _followed(decision: BrainDecision) -> None:
    """Say what really happened after the turn."""
    reply, action, answer = decision.response_sent, decision.action_taken, decision.user_response
    if reply is None and action is None and answer is None:
        Tag("p", "Nothing has followed yet.").classes("about")
        return
    with ui.element("div").classes("below"):
        Tag("p", f"What followed{f': {words(action)}' if action else ''}").classes("about")
        for who, text in (("agent", reply), ("customer", answer)):
            if text is not None:
                bubble(who, text)


def _brain(decision: BrainDecision) -> None:
    """Say what the brain said, module by module."""
    faults = {fault["step"]: fault for fault in decision.faults}
    with ui.element("dl").classes("facts"):
        for name, faculty in MODULES.items():
            Tag("dt", f"{name} {decision.versions.get(name, '')}")
            reading = decision.readings.get(name)
            if reading is None:
                Tag("dd", f"no answer: {faults.get(name, {}).get('kind', 'unknown')}").classes("bad")
                continue
            said = [f"{words(main)}: {value_of(reading['fields'].get(main))}" for main in faculty.main_fields]
            sure = reading["fields"].get("confidence")
            about = f" ({percent(sure)} sure)" if isinstance(sure, int | float) else ""
            Tag("dd", "; ".join(said) + about).classes("said")
