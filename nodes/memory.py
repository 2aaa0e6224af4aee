"""What a dream cycle works with: what was said in the train side, and what of it is a customer's own."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from understudy.events import Event, Line, Role
from understudy.intake import UnderstudyError
from understudy.nodes.brain import Brain
from understudy.nodes.corpus import Corpus
from understudy.nodes.customer_data import own_texts, profile_texts
from understudy.nodes.recall import intent_of, remembered
from understudy.nodes.redaction import MOST_MESSAGES, Redaction, Said, said_in
from understudy.nodes.scoring import content
from understudy.nodes.turns import Turn
from understudy.profile import Profile

FIRST_NAMES = (
    "Alva Bruno Chiara Dario Edda Fabio Greta Hanno Ilse Jonas Kira Lasse Maren Nils Oona Pelle Quirin Runa Sanna Tilo"
    " Ulla Veit Wanda Xenia Yara Zeno Anouk Bela Cosima Doro"
).split()
"""Invented customers are called so, as far as no real one is."""


@dataclass(frozen=True)
class Memory:
    """The closed conversations of the train side: turns by conversation, and all that was said in them."""

    profile: Profile
    talks: Mapping[str, Sequence[Turn]]
    said: Mapping[str, Sequence[Event]]
    words: Said = field(default_factory=Said)

    @cached_property
    def redaction(self) -> Redaction:
        """What the dreamer is not shown of the conversations."""
        return Redaction(self.words, [self.profile])

    @property
    def masked(self) -> dict[str, int]:
        """How many of each kind are replaced in all that may be shown."""
        self._lines  # noqa: B018  (they are counted when they are made)
        return dict(sorted(self.redaction.replaced.items()))

    def lines(self, name: str) -> list[Line]:
        """Return a conversation's messages with tags in the place of what is a customer's own."""
        return self._lines.get(name, [])

    @cached_property
    def _lines(self) -> dict[str, list[Line]]:
        return {name: [self._line(event) for event in events] for name, events in self.said.items()}

    def _line(self, event: Event) -> Line:
        role: Role = "customer" if event.kind == "customer_message" else "agent"
        line = Line(role=role, text=self.redaction(event.text or ""))
        if action := self.action(event):
            line["action"] = action
        return line

    def action(self, event: Event) -> str | None:
        """Return what an agent did; of a step that is none of the profile's nobody knows what is in its name."""
        known = event.action is None or event.action in self.profile.next_steps
        return event.action if known else self.redaction(event.action)

    def can_tell(self, plan: Mapping[str, Any]) -> bool:
        """Say whether what was planned is still there: it may have been erased, or renamed, since a cycle began."""
        return plan["intent"] in self.profile.intents and (plan["parent"] is None or plan["parent"] in self.said)

    @cached_property
    def by_intent(self) -> dict[str, list[str]]:
        """The conversations of each intent."""
        found: dict[str, list[str]] = defaultdict(list)
        for name, turns in self.talks.items():
            if intent := intent_of(turns):
                found[intent].append(name)
        return found

    @cached_property
    def replies(self) -> dict[str, list[str]]:
        """What agents said for each action, the commonest first."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for name in self.said:
            for line in self.lines(name):
                if line.get("action"):
                    found[line["action"]][line["text"]] += 1
        return {action: [text for text, _ in counts.most_common()] for action, counts in found.items()}

    @cached_property
    def corpus(self) -> Corpus:
        """What of the conversations may not be in a dream."""
        customers = [customer for known in self.words.customers.values() for customer in known]
        return Corpus(self.words.messages, customers, own_texts(self.profile))

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """The words that carry meaning in conversations of this profile."""
        texts = [event.text for events in self.said.values() for event in events]
        return frozenset(word for text in (*texts, *profile_texts(self.profile)) for word in content(text))

    @cached_property
    def names(self) -> list[str]:
        """First names that nobody in the conversations has."""
        return [name for name in FIRST_NAMES if name.lower() not in self.vocabulary]


_remembered: dict[str, Memory] = {}


async def memory_of(brain: Brain, cycle: str, profile: str) -> Memory:
    """Return what a cycle works with; it is read once, and again after a kill."""
    if cycle in _remembered:
        return _remembered[cycle]
    return await asyncio.to_thread(memory_at_hand, brain, cycle, profile)


def memory_at_hand(brain: Brain, cycle: str, profile: str) -> Memory:
    """Return the same, for a step that runs in a thread."""
    if cycle not in _remembered:
        _remembered[cycle] = _read(brain, profile)
    return _remembered[cycle]


def forget_cycle(cycle: str) -> None:
    """Let go of what a cycle worked with."""
    _remembered.pop(cycle, None)


def _read(brain: Brain, profile: str) -> Memory:
    if brain.gym is None:
        raise UnderstudyError("RL_GYM_ENABLED=false: there is nothing to dream of; set it to true")
    _, talks = remembered(brain, profile)
    said = {name: brain.gym.messages(name, 1 << 62, MOST_MESSAGES) for name in talks}
    return Memory(brain.profile(profile), talks, said, said_in(brain.gym, talks))
