"""The review queue: the turns worth a person's label first, one at a time, with the keyboard.

Nothing is preselected, and what the brain said stays folded until somebody asks for it: whoever is shown an answer
tends to agree with it, and a label that only repeats the brain teaches nothing. What really followed is in view, since
a label says what is true and not what could be known. A key that comes while a label is being written is dropped, and
so is Enter without a choice: one Enter saves one label.
"""

from dataclasses import dataclass, field
from typing import Any

from nicegui import app, ui
from nicegui.element import Element
from nicegui.events import KeyEventArguments

from understudy.intake import UnderstudyError, clean_text
from understudy.nodes.brain import Brain, gym_of
from understudy.profile import Profile
from understudy.reviewing import (
    NEWEST,
    QUESTIONS,
    Asked,
    Choice,
    Shown,
    choices,
    fields,
    labelled_today,
    look,
    queue,
    save,
    undo,
)
from understudy.server.pages.acting import entry, given
from understudy.server.pages.conversation import address
from understudy.server.pages.frame import Tag, asked, empty, facts, heading, link, page
from understudy.server.pages.turn import turn

KEYS = {
    "1 2 3 ...": "choose (all digits of the number)",
    "Enter": "save, and go on to the next turn",
    "/": "look for a label by its name or meaning; Enter chooses the first one left",
    "b": "show or fold what the brain said",
    "s": "skip this turn",
    "u": "back: undo the last label or skip",
    "?": "show or fold this help",
}

FEW = 9
"""Choices up to which one digit is enough and nobody has to search."""

NAME, MOST_NAME = "reviewer", 80

LET_GO = "(e) => { e.currentTarget.blur(); emit() }"
"""A button that has done its work gives the keyboard back to the page."""


@dataclass
class _Desk:
    """One person at one question: what is asked now, what is chosen, what has been done."""

    brain_profile: Profile
    wanted: str
    choices: list[Choice]
    waiting: list[Asked]
    today: int
    author: str = ""
    current: Asked | None = None
    shown: Shown | None = None
    chosen: Choice | None = None
    typed: str = ""
    is_busy: bool = False
    passed: set[tuple[str, int]] = field(default_factory=set)
    done: list[tuple[Asked, int | None]] = field(default_factory=list)
    """Turns that were labelled (with the label's event) or skipped, the last one at the end."""
    buttons: list[Element] = field(default_factory=list)
    place: Element | None = None
    folded: Element | None = None
    help: Element | None = None
    note: Tag | None = None
    count: Tag | None = None
    search: Element | None = None

    @property
    def digits(self) -> int:
        """How many digits the number of a choice has."""
        return len(str(len(self.choices)))

    async def go_on(self) -> None:
        """Show the next turn that is still there."""
        self.current = self.shown = None
        while self.current is None:
            if not self.waiting:
                self.waiting = await asked(lambda b: queue(b, self.brain_profile, self.wanted, self.passed))
                if not self.waiting:
                    break
            await self.ask(self.waiting.pop(0))
        self.draw()

    async def ask(self, one: Asked) -> None:
        """Have a turn shown next, unless it has been erased."""
        self.passed.add((one.conversation_id, one.turn))
        self.shown = await asked(lambda b: look(b, one))
        self.current, self.chosen, self.typed = one if self.shown else None, None, ""

    async def key(self, event: KeyEventArguments) -> None:
        """Do what a key asks for."""
        keys = event.modifiers
        if not event.action.keydown or event.action.repeat or keys.ctrl or keys.meta or keys.alt:
            return
        await self.do(str(event.key.name))

    async def do(self, key: str) -> None:
        """Do what a key asks for, one at a time; an error of ours is told on the page."""
        if self.is_busy:
            return
        self.is_busy = True
        try:
            await self.act(key)
        except UnderstudyError as error:
            self.say(str(error))
        finally:
            self.is_busy = False

    async def act(self, key: str) -> None:
        """Do it."""
        if key == "?" and self.help:
            self.help.set_visibility(not self.help.visible)
        elif key == "u":
            await self.back()
        elif self.current is None:
            return
        elif key == "Enter":
            await self.keep()
        elif key == "s":
            self.done.append((self.current, None))
            await self.go_on()
        elif key == "b" and self.folded:
            self.folded.set_visibility(not self.folded.visible)
        elif key == "/" and self.search:
            ui.run_javascript(f"getHtmlElement({self.search.id}).focus()")
        elif key.isdecimal() and len(key) == 1:
            self.type(key)

    def type(self, digit: str) -> None:
        """Take a digit of a number; with its last one the choice is made."""
        self.typed = digit if len(self.typed) >= self.digits else self.typed + digit
        number = int(self.typed)
        is_whole = len(self.typed) == self.digits
        self.choose(self.choices[number - 1] if 0 < number <= len(self.choices) else None)
        if self.chosen is None and is_whole:
            self.say(f"There is no {number}.")
            self.typed = ""

    def choose(self, choice: Choice | None) -> None:
        """Mark a choice, or none."""
        self.chosen = choice
        for other, element in zip(self.choices, self.buttons, strict=True):
            is_it = other is choice
            element.classes(add="chosen" if is_it else "", remove="" if is_it else "chosen")
            element.props(f"aria-checked={'true' if is_it else 'false'}")
        self.say("Enter saves." if choice else "")

    async def keep(self) -> None:
        """Save what is chosen, and go on."""
        if self.chosen is None or self.current is None:
            self.say("Choose first: type the number of a label.")
            return
        one, value = self.current, self.chosen.value
        self.done.append((one, await asked(lambda b: save(b, one, self.wanted, value, self.author))))
        self.today += 1
        await self.go_on()

    async def back(self) -> None:
        """Undo the last label or skip, and show its turn again."""
        if not self.done:
            self.say("There is nothing to undo on this page.")
            return
        one, event_id = self.done[-1]
        if event_id is not None and await asked(lambda b: undo(b, event_id)):
            self.today -= 1
        self.done.pop()  # not before: what could not be undone is still the last
        if self.current:
            self.waiting.insert(0, self.current)
        await self.ask(one)
        self.draw()
        self.say("Undone." if event_id is not None else "Back.")

    def name(self, text: str) -> None:
        """Keep the reviewer's name as long as the browser's tab is open."""
        self.author = app.storage.tab[NAME] = clean_text(text.strip()[:MOST_NAME])

    def say(self, text: str) -> None:
        """Tell something in a line under the question."""
        if self.note:
            self.note.say(text)

    def draw(self) -> None:
        """Draw the turn, or that there is none."""
        if self.place is None:
            return
        self.place.clear()
        if self.count:
            self.count.say(f"Labelled today: {self.today}")
        self.buttons, self.folded, self.search, self.note = [], None, None, None
        with self.place:
            if self.shown is None or self.current is None:
                with ui.element("section"):
                    empty(
                        "Nothing to review.",
                        f"Of the newest {NEWEST:,} turns of the profile {self.brain_profile.name} (BRAIN_PROFILE) there"
                        f" is none whose {self.wanted.replace('_', ' ')} nobody has labelled, but for those that you"
                        " have skipped. New ones come with new conversations:"
                        " `understudy serve` reads them. `understudy optimize` learns from what has been labelled.",
                    )
                    self.note = Tag("p").classes("status").props("role=status")
                return
            with ui.element("section"):
                one = self.current
                with ui.element("div").classes("row apart"):
                    Tag("h2", "The conversation so far")
                    link("The whole conversation", address(one.conversation_id, turn=one.turn), new_tab=True)
                self.folded = turn(self.shown)
            with ui.element("section").classes("question"):
                self.draw_question(self.current)

    def draw_question(self, one: Asked) -> None:
        """Draw what is asked, and the choices with their numbers."""
        Tag("h2", QUESTIONS[self.wanted])
        why = f"Asked first, as {'; '.join(one.reasons)}." if one.reasons else "Asked as it is new."
        Tag("p", why).classes("about")
        if len(self.choices) > FEW:
            self.search = entry("Look for a label: /", type="search")
            self.search.on("input", self.narrow, js_handler="(e) => emit(e.target.value)")
            self.search.on(
                "keydown.enter", self.take_first,
                js_handler="(e) => { e.stopPropagation(); e.target.blur(); emit(e.target.value) }",
            )  # fmt: skip
        group = given(
            ui.element("div").classes("options"), **{"role": "radiogroup", "aria-label": QUESTIONS[self.wanted]}
        )
        with group:
            for number, choice in enumerate(self.choices, 1):
                option = Element("button").classes("option").props("type=button role=radio aria-checked=false")
                option.on("click", lambda _, choice=choice: self.choose(choice), js_handler=LET_GO)
                with option:
                    Tag("kbd", f"{number:0{self.digits}}")
                    with ui.element("span"):
                        Tag("span", choice.name)
                        if choice.meaning and len(self.choices) <= FEW:
                            Tag("span", choice.meaning.partition(":")[0]).classes("about")
                self.buttons.append(option)
        self.note = Tag("p", "").classes("status").props("role=status")
        with ui.element("div").classes("row"):
            for key, name in (("Enter", "Save"), ("s", "Skip"), ("b", "Brain"), ("u", "Undo"), ("?", "Keys")):
                button = Element("button").classes(f"act {'first' if name == 'Save' else ''}").props("type=button")
                button.on("click", lambda _, key=key: self.do(key), js_handler=LET_GO)
                with button:
                    Tag("span", name)
                    Tag("kbd", key)

    def narrow(self, event: Any) -> None:
        """Show only the choices that hold what was typed."""
        for choice, element in zip(self.choices, self.buttons, strict=True):
            element.set_visibility(choice.holds(str(event.args)))

    def take_first(self, event: Any) -> None:
        """Choose the first of the choices that are shown."""
        wanted = str(event.args)
        self.choose(next((one for one in self.choices if wanted.strip() and one.holds(wanted)), None))
        if self.chosen is None:
            self.say("No label holds that.")


@page("/review")
async def review(field: str = "intent") -> None:
    """Ask for a label of the turns that teach most."""
    desk, known = await asked(lambda brain: _desk(brain, field))
    heading(
        "Review",
        "One at a time, the turns of which a person's word teaches most. A label says what is true of a turn, whatever"
        " the brain said: modules learn from it, and are judged by it.",
    )
    with ui.element("div").classes("row apart"):
        with ui.element("nav").classes("row").props("aria-label=Questions"):
            for name in known:
                to = link(name.replace("_", " "), f"/review?field={name}")
                if name == desk.wanted:
                    to.props("aria-current=page")
        with ui.element("div").classes("fields"):
            desk.count = Tag("span").classes("about")
            name_box = entry("Your name", maxlength=MOST_NAME, autocomplete="name")
    desk.help = ui.element("section")
    with desk.help:
        Tag("h2", "Keys")
        facts({**KEYS})
    desk.help.set_visibility(False)
    desk.place = ui.element("div").classes("review")
    ui.keyboard(on_key=desk.key, repeating=False)
    name_box.on("change", lambda event: desk.name(str(event.args)), js_handler="(e) => emit(e.target.value)")

    def remember() -> None:
        kept = str(app.storage.tab.get(NAME, ""))
        if kept and not desk.author:  # else it would wipe what is being typed
            desk.author = name_box.props["value"] = kept

    ui.context.client.on_connect(remember)
    await desk.go_on()


def _desk(brain: Brain, wanted: str) -> tuple[_Desk, list[str]]:
    profile = brain.profile(None)
    known = fields(profile)
    name = wanted if wanted in known else known[0]
    gym = gym_of(brain)
    return _Desk(profile, name, choices(profile, name), queue(brain, profile, name), labelled_today(gym, name)), known
