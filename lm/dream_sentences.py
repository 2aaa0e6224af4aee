"""Sentences of a dreamt customer: what somebody said or an intent means, in other words and with other details."""

import re
from collections.abc import Sequence

from understudy.lm.dream_material import CHAT, Material
from understudy.lm.notation import reframed, reworded, spin
from understudy.lm.paraphrases import FRAMES, SYNONYMS
from understudy.lm.parting import LEANT, Clause, clauses, courteous, leans
from understudy.lm.words import content_words

_VALUE = re.compile(
    r"(?:it is|it's|its|is it|that is|that's|i'm|i am|this is|(?:my|the) name is|make it) ", re.IGNORECASE
)


def retold(material: Material, unit: Sequence[Clause]) -> str:
    """Say a sentence of somebody otherwise."""
    told = ""
    for clause in unit:
        text = reframed(_low(material, material.details.swap(clause.text)), material.rng, FRAMES)
        text = reworded(text, material.rng, SYNONYMS, 0.6)
        told = f"{told}, {material.rng.choice(LEANT[clause.joint])} {text}" if told else text
    return told


def short_answer(material: Material, text: str, asked: Sequence[str]) -> str:
    """Give the source's short answer in another sentence."""
    bare = _VALUE.sub("", text, count=1)
    value = material.details.swap(bare)
    ways = [way for way in asked if way.count("<") == 1 and "<place>" not in way] if value != bare else []
    ways = ways or ["{it is|I'd say|make it|let's say|maybe} <value>", "<value> {please|then|I think|would be it}"]
    return spin(re.sub(r"<\w+>", "<value>", material.rng.choice(ways)), material.rng, {"value": value})


def wish(material: Material, said: str) -> str:
    """Say what the intent is about, by a deed that several customers name or by its meaning."""
    deeds = [deed for deed in material.deeds if deed.split()[-1] not in said]
    if deeds and material.rng.random() < 0.7:
        told = f"I want to {material.rng.choice(deeds)}"
    else:
        meant = material.wish
        told = meant if meant and meant[-12:] not in said else f"it is about {material.slots['thing']}"
    return reworded(reframed(told, material.rng, FRAMES), material.rng, SYNONYMS, 0.4)


def borrowed(material: Material, said: set[str]) -> list[str]:
    """Retell a clause of another customer that holds nothing rare, and something of the intent that is new."""
    for text in material.rng.sample(material.others, min(8, len(material.others))):
        for clause in clauses(text):
            words = set(content_words(clause.text)) - CHAT
            loose = leans(clause.text) or courteous(clause.text)
            told = words & material.core and (words & material.keys) - said and words <= material.common
            if told and not loose and 4 <= len(clause.text.split()) <= 12:
                return [retold(material, [clause])]
    return []


def ordered(material: Material, units: list[list[Clause]]) -> list[list[Clause]]:
    """Put two sentences in the other order where neither leans on the one before."""
    free = [n for n in range(len(units) - 1) if not any(leans(unit[0].text) for unit in units[n : n + 2])]
    if free and material.rng.random() < 0.7:
        n = material.rng.choice(free)
        units[n], units[n + 1] = units[n + 1], units[n]
    return units


def _low(material: Material, text: str) -> str:
    """Begin a clause in small letters, unless its first word is I or a name."""
    first = text.split(" ")[0]
    small = (
        first.casefold() in material.details.small
        and first not in material.details.fresh
        and not re.match(r"I\b", first)
    )
    return text[0].lower() + text[1:] if small else text
