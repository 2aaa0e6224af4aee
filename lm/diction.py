"""Operations on how a reply is worded: more or less formal, simpler or richer, shorter of breath."""

import re
from collections.abc import Mapping

from understudy.lm.courtesy import SENTENCE, Turn, first_up
from understudy.lm.swaps import BRIEFER, CASUAL_WORDS, FORMAL_WORDS, RICHER, SIMPLER, contract, expand, strand
from understudy.lm.wordings import CASUAL_OPENER, CASUAL_OPENERS, FILLERS, FORMAL_OPENER, FORMAL_OPENERS

SPLIT_FROM = 12
JOIN_BELOW = 8
SHORTEST_CLAUSE = 3

_ASKS_PERSON = re.compile(
    r"\b(can|could|would) you (?=(?:tell|give|provide|confirm|describe|specify|let|share|send|check|repeat|enter)\b)",
    re.IGNORECASE,
)
_ASKS_DATUM = re.compile(
    r"(?:(?:for|at|on|from|in) )?(?:what|when|where|which|who|how many)\b(?! else| can| may| about)[^.!?,\n]{6,70}\?\Z",
    re.IGNORECASE,
)
_BANG = re.compile(r"(?<=\w)!(?=\s|\Z)")
_BARE_START = re.compile(r"unfortunately(?= (?:there|the|this|that|your|I|we|it|no)\b)|sorry(?= but\b)", re.IGNORECASE)
_BARE_STARTS = {"unfortunately": "Unfortunately,", "sorry": "I am sorry,"}


def formality_up(text: str, turn: Turn) -> str:
    """Write contractions out, open formally, ask with please, drop exclamation marks."""
    text = FORMAL_WORDS(expand(_opened(text, FORMAL_OPENER, FORMAL_OPENERS)))
    text = _BARE_START.sub(lambda match: _BARE_STARTS[match[0].lower()], text) if _BARE_START.match(text) else text
    if "please" not in text.lower():
        asking = _ASKS_PERSON.sub(r"\1 you please ", text, count=1) if "?" in text else text
        text = f"{text[:-1]}, please?" if _ASKS_DATUM.match(text) else asking
    return first_up(_BANG.sub(".", text))


_ANYTHING = re.compile(r"(?<!\S)Is there anything else (?:that )?(?=I can\b)")
_PLEASE = re.compile(r",? please\?\Z")


def formality_down(text: str, turn: Turn) -> str:
    """Contract, open casually, ask without ceremony; what is dropped for brevity only goes for brief customers."""
    text = contract(strand(CASUAL_WORDS(_opened(text, CASUAL_OPENER, CASUAL_OPENERS))))
    return _ANYTHING.sub("Anything else ", _PLEASE.sub("?", text)) if turn.wishes.brief else text


def _opened(text: str, pattern: re.Pattern[str], openers: Mapping[str, str]) -> str:
    match = pattern.match(text)
    return text if match is None else openers[match[1].lower().replace("\u2019", "'")] + text[match.end() :]


_SUBORDINATE = re.compile(r"(?:if|when|because|since|while|although|once|unless|as|before|after|should)\b", re.I)
_AND = re.compile(
    r"(?:, and|;) (?=(?:I|you|we|it|they|there)\b|(?:your|our|the)(?: \w+){1,3} (?:is|are|was|were|will|has|have)\b)"
)
_LISTS = re.compile(r"\w+ \w+ \w[^,]*, (?!and\b|can\b|could\b|should\b|would\b|shall\b|may\b|do\b|is\b|are\b)")
_ASKS = re.compile(r", (?=(?:can|could|should|would|shall|may|do|did|is|are|does) (?:I|you|we|it|they|that|this)\b)")


def vocabulary_simpler(text: str, turn: Turn) -> str:
    """Take simpler words, and for brief customers shorter turns and sentences."""
    if turn.wishes.plain:
        text = SIMPLER(BRIEFER(text))
    if turn.wishes.brief:
        text = "".join(map(_split, SENTENCE.findall(BRIEFER(text))))
    return text


def _split(sentence: str) -> str:
    """Split a long sentence where a clause of its own begins: a statement, or the question behind a statement."""
    if sentence.count(" ") < SPLIT_FROM or _SUBORDINATE.match(sentence.lstrip()):
        return sentence
    match = (_ASKS if sentence.rstrip().endswith("?") else _AND).search(sentence)
    if match is None or sentence.count(" ", 0, match.start()) < SHORTEST_CLAUSE or _LISTS.match(sentence):
        return sentence
    return f"{sentence[: match.start()]}. {first_up(sentence[match.end() :])}"


_PLAIN_START = re.compile(r"(?:Your|The|It|You|We) ")


def vocabulary_richer(text: str, turn: Turn) -> str:
    """Take richer words, and join short sentences for customers who like it long."""
    if turn.wishes.rich:
        text = RICHER(text)
    return _joined(text) if turn.wishes.lengthy else text


def _joined(text: str) -> str:
    """Join the first two short statements that stand side by side."""
    sentences = SENTENCE.findall(text)
    for i, pair in enumerate(zip(sentences, sentences[1:], strict=False)):
        if all(_PLAIN_START.match(one) and one.rstrip()[-1] == "." and one.count(" ") < JOIN_BELOW for one in pair):
            both = f"{pair[0].rstrip()[:-1]}, and {pair[1][0].lower()}{pair[1][1:]}"
            return "".join([*sentences[:i], both, *sentences[i + 2 :]])
    return text


_POINTS_BACK = re.compile(r"\b(?:it|this|that|these|those|them|one|so|then|there|instead|else|any|they)\b", re.I)
_REASON = re.compile(r"(?:We|I) (?:need|require)\b|(?:This|That|It) (?:helps|lets|allows|is)\b")


def tone_urgent(text: str, turn: Turn) -> str:
    """Drop fillers, and put a request before the sentence that only says what it is for."""
    text = FILLERS.sub(lambda match: (match["next"] or "").upper(), text)
    sentences = SENTENCE.findall(text)
    if len(sentences) == 2 and _REASON.match(sentences[0]):
        reason, request = (sentence.strip() for sentence in sentences)
        asks = request.endswith("?") or request.startswith("Please ")
        if asks and reason[-1] == "." and not _POINTS_BACK.search(request):
            return f"{request} {reason}"
    return text
