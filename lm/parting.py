"""A message taken apart: its clauses, and what is said for courtesy around them."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_LEADS = (
    (
        "greet",
        re.compile(r"(?:hi+|hello|hey+|hiya|greetings|good (?:morning|afternoon|evening|day))\b(?: there| again)?"),
    ),
    ("yes", re.compile(r"(?:yes|yeah|yep|yup|sure|correct)\b(?:,? please)?(?:,? (?:it is|i am|do|go ahead)$)?")),
    ("no", re.compile(r"(?:no|nope|nah)\b(?!,? (?:one|idea|problem|way|more))(?:,? (?:thanks|thank you))?")),
    ("fine", re.compile(r"(?:ok|okay|alright|great|awesome|perfect|cool|nice|excellent|wonderful|sweet)\b(?! \w+ \w)")),
    ("", re.compile(r"(?:anyway|wait|you know|let's see|i see)(?=,|$)")),
    ("", re.compile(r"(?:well|oh|oops|hmm+|hm|ugh|wow|um+|uh+|actually|so|and|then|please|also|ok|okay|great)\b")),
)
_ENDS = (
    ("thanks", re.compile(r"\b(?:thanks?|thx|thanx|appreciate)\b")),
    ("bye", re.compile(r"\b(?:good ?bye|bye|have an? (?:good|nice|great|blessed|wonderful)|take care|see you)\b")),
    ("done", re.compile(r"^(?:that is|that's|thats|that will be|that'll be) (?:all|it|everything)\b|\bgood for now\b")),
)
_LOOSE = re.compile(r"(?:it|its|it's|that|that's|they|this|he|she|then|there|those|these)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])[\s.!?]+|\s+-+\s+|;\s+|\.{2,}\s*")
_WHO = r"(?:i|i'm|im|i'd|i'll|i've|we|we're|my|can|could|it|it's|they|please|you|he|she|there)\b"
_JOINT = re.compile(rf",? (and|but|so|because|since) (?={_WHO})|,\s*()(?={_WHO}|is\b|do\b)", re.IGNORECASE)

LEANT = {
    "but": ("but", "though", "only"),
    "so": ("so", "and so", "that is why"),
    "because": ("because", "since", "as"),
}
LEANT["since"] = LEANT["because"]
"""How a clause is joined to the one that it gives a turn or a reason."""


class Clause(NamedTuple):
    """A clause of a message, and the joint before it: and, but, so, because, or nothing."""

    joint: str
    text: str


class Said(NamedTuple):
    """What a message does (greet, yes, no, fine, thanks, bye, done), and its sentences as clauses."""

    acts: frozenset[str]
    units: list[list[Clause]]


def clauses(text: str) -> list[Clause]:
    """Cut a message into clauses."""
    text = re.sub(r"\b(dr|mr|mrs|ms|st)\.", r"\1", re.sub(r"\b([ap])\.m\b\.?", r"\1m", text, flags=re.I), flags=re.I)
    found = []
    for sentence in _SENTENCE.split(text):
        pieces = _JOINT.split(sentence)
        joint = ""
        for number in range(0, len(pieces), 3):
            words = pieces[number].strip(" ,.!?:")
            if words and re.search(r"[^\W_]", words):
                found.append(Clause(joint, words))
            joint = (pieces[number + 1] or "").lower() if number + 1 < len(pieces) else ""
    return found


def parsed(message: str) -> Said:
    """Take a message apart."""
    acts: set[str] = set()
    units: list[list[Clause]] = []
    for joint, text in clauses(message):
        for act, lead in _LEADS * 2:
            if match := lead.match(text.lower()):
                acts.add(act)
                text = text[match.end() :].strip(" ,.!?")
        ended = [act for act, end in _ENDS if end.search(text.lower())]
        acts.update(ended)
        text = re.sub(r",? (?:please|pls)$", "", text)
        if not text or ended or text.lower() in ("please", "do", "i do", "it is"):
            continue
        if units and joint in LEANT:
            units[-1].append(Clause(joint, text))
        else:
            units.append([Clause("", text)])
    return Said(frozenset(acts), units)


def text_of(unit: Sequence[Clause]) -> str:
    """Return a sentence as it was said, without its joints."""
    return " ".join(clause.text for clause in unit)


def leans(clause: str) -> bool:
    """Say whether a clause begins with a word that stands for something said before."""
    return bool(_LOOSE.match(clause))


def courteous(clause: str) -> bool:
    """Say whether a clause begins with what is no part of its meaning: a greeting, a yes, a well."""
    return any(lead.match(clause.lower()) for _, lead in _LEADS)
