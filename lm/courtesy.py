"""Operations that add to a reply, or take off it, what is said to the person: a name, a kind word, an emoji."""

import re
from dataclasses import dataclass

from understudy.lm.register import LIVELY
from understudy.lm.wishes import Wishes
from understudy.lm.wordings import AWAY, COMPLAINT, EMOJI_FOR, GRAVE, LOST, LOWERABLE, MAYBE_NAMES, NEGATIVE, POSITIVE

SENTENCE = re.compile(r"[^.!?\n]+[.!?]*[^\S\n]*|\n+|[.!?]+\s*")


@dataclass(frozen=True, slots=True)
class Turn:
    """What an operation may look at beside the text: wishes, first name, newest message, the agent's last replies."""

    wishes: Wishes
    name: str
    newest: str
    replies: tuple[str, ...]


def first_up(text: str) -> str:
    """Return a text with its first letter large."""
    return text[:1].upper() + text[1:]


def emoji_removed(text: str, turn: Turn) -> str:
    """Take emoji away from the ends of sentences, unless nothing else is said."""
    rest = AWAY.sub("", text) if LIVELY.search(text) else text
    return rest if rest.strip() else text


def emoji_added(text: str, turn: Turn) -> str:
    """Put one emoji that fits at the end, but none beside what is bad or grave."""
    bad = NEGATIVE.search(text) and not _REGRET.search(text)
    if bad or LIVELY.search(text) or any(map(GRAVE.search, (text, turn.newest))) or COMPLAINT.search(turn.newest):
        return text
    body = text.rstrip()
    emoji = next(emoji for sign, emoji in EMOJI_FOR if sign.search(body))
    return f"{body} {emoji}{text[len(body) :]}"


def enthusiasm(text: str, turn: Turn) -> str:
    """Let the last good news end in an exclamation mark, but never beside bad news."""
    if "!" in text or NEGATIVE.search(text) or GRAVE.search(text) or COMPLAINT.search(turn.newest):
        return text
    sentences = SENTENCE.findall(text)
    for i in reversed(range(len(sentences))):
        body = sentences[i].rstrip()
        if body.endswith(".") and not body.endswith("..") and POSITIVE.search(body):
            sentences[i] = body[:-1] + "!" + sentences[i][len(body) :]
            return "".join(sentences)
    return text


_REGRET = re.compile(r"\b(?:sorry|apolog\w+|regret|unfortunately)\b", re.IGNORECASE)
_GREETS = re.compile(r"(?:hi|hello|hey|good (?:day|morning|afternoon|evening)|welcome|greetings|dear)\b", re.IGNORECASE)


def tone_apologetic(text: str, turn: Turn) -> str:
    """Say sorry for the trouble to somebody who has just complained, unless it has been said."""
    if _REGRET.search(text) or any(map(_REGRET.search, turn.replies[-2:])) or _GREETS.match(text):
        return text
    return ("I am sorry for the trouble. " if turn.wishes.formal else "Sorry about the trouble. ") + first_up(text)


_HELLO = re.compile(r"(?:hi|hello)(?=[,.!])", re.IGNORECASE)
_WELCOME = re.compile(r"(you(?:['\u2019]re| are)) welcome\b", re.IGNORECASE)
_BYE = re.compile(r"\b(?:good ?)?bye\b", re.IGNORECASE)
_WISHED = re.compile(r"\b(?:have a|enjoy|take care|wish|see you|nice playing|welcome|happy|glad|luck)\b", re.IGNORECASE)
_ANYTHING = re.compile(r"(?:is there )?anything (?:else|further)\b", re.IGNORECASE)
_AVAILABLE = re.compile(
    r"(?:the|your|there|yes, the)\b[^.!?\n]{0,60}\b(?:is|are) (?:still )?available\b(?!\?)", re.IGNORECASE
)
_THANKED = re.compile(r"\b(?:thanks?|happy to help|hope that helps|good news)\b", re.IGNORECASE)
_KIND = re.compile(r"\b(?:thanks?|happy|sorry|pleasure|welcome|great|sure|certainly|very well)\b", re.IGNORECASE)


def tone_friendly(text: str, turn: Turn) -> str:
    """Add a kind word that fits the moment and promises nothing; never beside what is bad or grave."""
    if NEGATIVE.search(text) or any(map(GRAVE.search, (text, turn.newest))) or COMPLAINT.search(turn.newest):
        return text
    if not turn.replies and _HELLO.match(text):
        return _HELLO.sub(lambda match: match[0] + " and welcome", text, count=1)
    if _WELCOME.match(text):
        return _WELCOME.sub(r"\1 very welcome", text, count=1)
    if _BYE.search(text):
        return text if _WISHED.search(text) else _with_wish(text, turn)
    if _KIND.search(text) or any(map(_THANKED.search, turn.replies[-2:])):
        return text
    opening = _opening(text, turn)
    return f"{opening} {first_up(text)}" if opening else text


def _with_wish(text: str, turn: Turn) -> str:
    body = text.rstrip()
    body = body if body[-1] in ".!?" else body + "."
    return body + (" Have a pleasant day." if turn.wishes.formal else " Take care!")


_ASKS = re.compile(
    r"(?:(?:for|at|on|from|in|and) )?(?:what|when|where|which|who|how|can|could|may|do|does|have|are|is|would)\b"
    r"[^.!\n]*\?|please (?:provide|give|tell|enter|describe)\b",
    re.IGNORECASE,
)
_WANTS = re.compile(
    r"\b(?:i need|i want|i['\u2019]d like|i would like|i am looking|i['\u2019]m looking|help me|can you|could you)\b",
    re.IGNORECASE,
)


def _opening(text: str, turn: Turn) -> str:
    """Return thanks for an answer, the will to help with a request, good news as such, or nothing."""
    formal, brief = turn.wishes.formal, turn.wishes.brief
    last = turn.replies[-1] if turn.replies else ""
    if _ANYTHING.match(text):
        helped = last and not NEGATIVE.search(last)
        return "" if brief or not helped else "I hope that helps." if formal else "Hope that helps!"
    if _AVAILABLE.match(text) and not formal and not brief:
        return "Good news!"
    if not _ASKS.match(text) or not turn.newest:
        return ""
    if _WANTS.search(turn.newest):
        return "" if brief else "I am happy to help." if formal else "Happy to help."
    answered = ("?" in last or "please" in last.lower()) and not LOST.search(turn.newest)
    return ("Thank you." if formal else "Thanks!") if answered else ""


_HAILS = re.compile(r"(?:hi|hello|hey|good (?:morning|afternoon|evening|day)|greetings|welcome)(?=[,.!]| and\b)", re.I)
_BEFORE_COMMA = tuple(
    re.compile(rf"(?:{pattern})(?={ends})", re.IGNORECASE)
    for pattern, ends in (
        (r"(?:[^.!?,\n]{0,30}\b(?:and|now) )?(?:good ?)?bye", r"[.!,]|\Z"),
        (
            r"(?:thank you|thanks)(?: very much| so much| a lot)?|(?:i am )?happy to help|good news|"
            r"(?:i )?hope that helps|sorry about the trouble|i am sorry for the trouble|"
            r"(?:(?:i am|i['\u2019]m|we are|we['\u2019]re) )?(?:very |so )?sorry|"
            r"nice playing with you|have a (?:good|nice|great|lovely|pleasant) (?:day|one|trip|stay|weekend|evening)|"
            r"no problem|of course|certainly|absolutely|happy birthday|congratulations|good luck|welcome back|"
            r"my pleasure|great job|well done|see you there|you(?:['\u2019]re| are)(?: very)? welcome",
            r"[.!,]",
        ),
        (
            r"ok|okay|alright|all right|right|sure|yes|no|certainly|very well|great|fantastic|perfect|excellent|"
            r"awesome|of course|sure thing|unfortunately",
            ",",
        ),
    )
)
_SHORT_QUESTION = re.compile(r"(?:what|when|where|which|who|how)\b[^.!?,\n]{0,45}\?\Z", re.IGNORECASE)
_ASKS_NAME = re.compile(r"\byour (?:full |first |last )?name\b|__", re.IGNORECASE)
_NAMES_ANOTHER = re.compile(r", [A-Z][a-z]+[.!?]?\Z")


def name_used(text: str, turn: Turn) -> str:
    """Put the first name where a person would, unless it is there, was used lately or is what the reply asks for."""
    name = turn.name
    if (
        not name
        or _ASKS_NAME.search(text)
        or _NAMES_ANOTHER.search(text)
        or any(_is_named(name, said) for said in (text, *turn.replies))
    ):
        return text
    hails = _HAILS.match(text)
    if hails:
        return f"{hails[0]} {name}{text[hails.end() :]}"
    for place in _BEFORE_COMMA:
        match = place.match(text)
        if match:
            return f"{match[0]}, {name}{text[match.end() :]}"
    if _SHORT_QUESTION.match(text):
        return f"{text[:-1]}, {name}?"
    lowered = _lowered(text)
    return f"{name}, {lowered}" if lowered else text


def _is_named(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


_FIRST = re.compile(r"([A-Za-z]+)(?:['\u2019][a-z]+)?(?: ([A-Za-z]+))?")
_SUBJECTS = frozenset("i you we it that this the your there he she they".split())
_WHOLE = re.compile(r"[.!?]|\b(?:is|are|was|has|have|will|can)\b")


def _lowered(text: str) -> str:
    """Return the text as it goes on behind a name, or nothing when its first word may be a name itself."""
    match = _FIRST.match(text)
    if match is None or not _WHOLE.search(text):
        return ""
    first, second = match[1], (match[2] or "").lower()
    if first == "I":
        return text
    plain = first.lower()
    may_be_name = plain in MAYBE_NAMES and second not in _SUBJECTS
    if plain not in LOWERABLE or first[1:] != first[1:].lower() or may_be_name or (plain, second) == ("all", "right"):
        return ""
    return first[0].lower() + text[1:]
