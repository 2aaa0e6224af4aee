"""A thousand hostile texts through every command: nothing crashes, obeys them or asks anybody outside."""

import asyncio
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.benchmarks.prove import run_cli, write
from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.shadow import create_shadow_workflow
from understudy.nodes.ab_life import begin
from understudy.nodes.brain import Brain
from understudy.nodes.modules import MODULES
from understudy.observing import run_turn
from understudy.profile import load_profile
from understudy.settings import Settings
from understudy.showing import printable
from understudy.terminal import conversation_bar
from understudy.tests.hostile import FIXED, Page, flooded, obeyed, texts, watched
from understudy.watching import watching

COUNT, TALKS = 1000, 100
PER_TALK, TURNS = COUNT // TALKS, 4
FILE = "[red]\x1b]0;owned\x07\u202e<img src=x>\n.jsonl"
RUN = "../../../[red]<img src=x onerror=alert(1)>\x1b[2J\u202e{{ 7 * 7 }}"
PROFILE = load_profile("default")


def recordings() -> list[dict[str, Any]]:
    """Conversations in which every text stands as what a customer or an agent says, and elsewhere as well."""
    said, dice, found = texts(COUNT), random.Random(1), []
    for number in range(TALKS):
        mine = said[PER_TALK * number : PER_TALK * (number + 1)]
        messages: list[dict[str, Any]] = []
        for place, text in enumerate(mine):
            if place % 3:
                messages.append({"role": "agent", "text": text, "action": (dice.choice(said)[:100] or "-")})
            else:
                labels = {
                    "intent": dice.choice(list(PROFILE.intents)), "conflict_type": dice.choice(["none", "frustration"]),
                    "reasoning": dice.choice(said)[:2000], "proposed_response": dice.choice(said)[:2000],
                    "issues": [dice.choice(said)[:200]],
                }  # fmt: skip
                messages.append({"role": "customer", "text": text, "labels": labels})
        found.append(
            {
                "conversation_id": f"{mine[1][:150]}{number}",
                "customer": {"name": mine[0][:500], mine[3][:500]: [mine[2][:500], {"x": mine[4][:500]}]},
                "messages": messages,
                "outcome": {"workflow_outcome": dice.choice(["success", "failure"])},
            }
        )
    return found


def wrong_lines() -> list[dict[str, Any]]:
    """Lines that are refused, each with a hostile text where the message may quote it."""
    made = []
    for number, text in enumerate(texts(40)):
        good = {"conversation_id": f"w{number}", "messages": [{"role": "customer", "text": "hello"}]}
        message = {"role": "customer", "text": "hello"}
        made += [
            {**good, "profile": text or "-"},
            {**good, "messages": [{**message, "role": text}]},
            {**good, "messages": [{**message, "at": text}]},
            {**good, "messages": [{**message, "labels": {text: 1, "intent": text}}]},
            {**good, "outcome": {text or "x": text}},
        ]
    return made


async def hosted(brain: Brain, name: str, text: str) -> None:
    """Post as a chat app does: state, customer, ids of messages, a label with an author."""
    assert brain.gym is not None
    async with open_checkpointer(brain.gym.path) as saver:
        graph = create_shadow_workflow(checkpointer=saver)
        messages = [
            {"role": "user", "content": text, "id": f"{text}1"},
            {"role": "assistant", "content": text, "id": f"{text}2", "additional_kwargs": {"action": text[:100]}},
        ]
        await run_turn(graph, brain, name, messages=messages, state={text: [text, {text: text}]}, customer={text: text})
        label = {"turn": 0, "fields": {"reasoning": text}, "author": text}
        await run_turn(graph, brain, name, label=label)


def planted(brain: Brain) -> None:
    """Save a version that holds hostile texts wherever a text can be, as one that somebody brings along."""
    text = "\n".join(one for one in texts(130) if len(one) < 200).encode("utf-8", "replace").decode().replace("\0", "?")
    versioning, faculty = brain.versioning("default"), MODULES["goals"]
    program = faculty.program(PROFILE)
    versioning.save_module("goals", program, "v0.0", {"metrics": {text: 0.5}})
    program.signature = program.signature.with_instructions(text)
    versioning.save_module("goals", program, "v1.0", {"metrics": {text: 0.5}, "reason": text, "status": "candidate"})
    begin(brain, "default", "goals", "v0.0", "v1.0", name="[red]<img src=x>:smile:{0}%s")


class Ran:
    """What commands printed, with what was wrong with it."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.said = ""

    def __call__(self, *arguments: str, **environment: str) -> str:
        status, out, err = run_cli(*arguments, **environment)
        for name, stream in (("stdout", out), ("stderr", err)):
            for what in (*obeyed(stream), *(["flood"] if flooded(stream) else [])):
                self.wrong.append(f"{arguments[0]}: {what} on {name}")
            if "Traceback" in stream:
                self.wrong.append(f"{arguments[0]}: {stream}")
        if status not in (0, 1):
            self.wrong.append(f"{arguments[0]}: exit status {status}: {err}")
        self.said += out + err
        return out


@pytest.fixture
def ran(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ran]:
    for name, value in {"GEPA_BREADTH": "1", "GEPA_DEPTH": "1", "DREAM_MIN_CONVERSATIONS": "5"}.items():
        monkeypatch.setenv(name, value)
    yield Ran()


def test_a_thousand_hostile_texts_through_every_command(home: Path, ran: Ran) -> None:
    talks = recordings()
    write(home / FILE, [*talks, *wrong_lines()])
    ids = [talk["conversation_id"].encode("utf-8", "replace").decode().replace("\0", "\ufffd") for talk in talks]
    with watched() as outside:
        found = json.loads(ran("replay", FILE, f"missing{FILE}", "--json"))
        assert found["conversations"] == len(talks) and found["decisions"] == TALKS * TURNS and found["faults"] == 0
        brain = Brain(Settings())
        planted(brain)
        for number, text in enumerate(texts(8, seed=2)):
            asyncio.run(hosted(brain, f"h{number}", text))
        brain.gym.close()
        for name in ids[::30]:
            ran("label", name, "0", "tone=firm", "--author", name[:50], "--json")
            ran("outcome", name, "--satisfaction", "0.5")
            ran("label", f"{name}?", "0", f"{name}=1")
            ran("suggestions", name)
        every(ran, home)
    assert (ran.wrong, outside) == ([], [])
    for shown in ("[red]text[/red]", "<script>alert(1)</script>", "{{ 7 * 7 }}", r"\x1b]52;c;", r"\u202e", ":smile:"):
        assert shown in ran.said, shown


def every(ran: Ran, home: Path) -> None:
    """Run what learns and dreams, then every command that prints."""
    ran("replay", FILE)
    ran("optimize", "--module", "intent", "--newest", "150", "--run-id", RUN)
    ran("dream", "--count", "3")
    for command in (
        "status", "versions", "doctor", "models", "suggestions --limit 300", "dataset --module intent",
        "optimize --show last", "dream --show", "ab status", "export -", "export out.jsonl",
    ):  # fmt: skip
        ran(*command.split())
        ran(*command.split(), "--json")
    for module in ("intent", "goals", "personalize"):
        ran("versions", module, "--show", "--version", "v1.0")
        ran("versions", module, "--show")
        ran("compare", module, "v0.0", "v1.0")
        ran("rollback", module, "v0.0")
    exported = (home / "out.jsonl").read_text(encoding="utf-8")
    assert not obeyed(exported) and len(exported.splitlines()) == TALKS * TURNS + 8
    pages = list((home / "optimized_modules").rglob("*.html"))
    assert len(pages) == 1 and pages[0].parent == home / "optimized_modules" / "default" / "reports"
    ran("ab", "status", "goals", "--picture", "course.svg")
    for path in [*pages, home / "course.svg"]:
        source = path.read_text(encoding="utf-8")
        found = Page(source)
        assert not found.harm and not obeyed(source)
        assert found.policy.startswith("default-src 'none'") or path.suffix == ".svg"


def test_bars_on_a_terminal_take_no_text_for_markup(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as terminal:
        terminal.setenv("TTY_COMPATIBLE", "1")
        terminal.setenv("COLUMNS", "5000")
        for text in [one for one in FIXED if len(one) < 500]:
            with conversation_bar("observing", None) as bar, watching() as watch:
                bar.wait(text)
                bar.say(text)
                watch({"resumed": text})
                watch({"module": text, "calls": 9, "proposals": 1, "expected_seconds": 1.0})
            printed = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err).replace("\r", "")
            shown = printable(text)
            assert f"goes on with run {shown}" in printed, ascii(text)
            assert f"waiting for the model server: {shown}; Ctrl-C" in printed
            assert not obeyed(printed) and not re.search(r"\x1b[^\[]", printed)


def test_wrong_usage_and_settings_with_hostile_words(home: Path, ran: Ran) -> None:
    for text in [one for one in FIXED if "\0" not in one and len(one) < 300]:
        for arguments in (
            (f"--{text}",),
            (text,),
            ("status", text),
            ("label", "c", text, text),
            ("optimize", f"--{text}"),
        ):
            status, out, err = run_cli(*arguments)
            assert status in (0, 1, 2) and not obeyed(out + err), (arguments, err)
        if not re.search("[\ud800-\udfff]", text):
            ran("status", BRAIN_PROFILE=text, OLLAMA_TIMEOUT=text)
            ran("export", f"{home}/missing/{text}")
    assert ran.wrong == []
