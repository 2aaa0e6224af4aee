"""What a customer's own messages say of their register: how formal, how long, how lively they write, and in English?

Only signs that can be pointed at count; nothing is learned or looked up. Few messages say little: formality starts at
0.5 and moves with each sign.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from understudy.lm.words import STOP_WORDS

MOST_TEXTS = 20
LONGEST = 600
DOUBT = 0.8
FEW_WORDS = 3
OFTEN = 3
ENGLISH = 0.1
FOREIGN = 0.3

_FACES = (
    "\u2600-\u2604\u2618\u261d\u2639\u263a\u2665\u2693\u26a1\u26bd\u26c4\u26c5"
    "\u2702\u2705\u2708-\u270d\u2728\u274c\u2764\u2b50"
)
_PICTURE = rf"(?:[\U0001f1e6-\U0001f1ff]{{2}}|[{_FACES}\U0001f300-\U0001faff])"
EMOJI = rf"(?:{_PICTURE}[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*(?:\u200d{_PICTURE}[\ufe0f\U0001f3fb-\U0001f3ff]*)*)"
EMOTICON = r"(?:(?<!\S)(?:[:;=8][-'o]?[)(DPp\]\[]|<3|xD|\^\^)(?!\w))"
LIVELY = re.compile(f"{EMOJI}|{EMOTICON}")

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_OTHER_SCRIPT = re.compile(r"[\u0370-\u1dff\u2c00-\ud7ff\uf900-\ufdff]")
# Function words of German, French, Spanish, Italian, Portuguese, Dutch that are no English words.
_ELSEWHERE = frozenset(
    """aber auch auf aux avec avez bei bien bitte ce che ci como con cosa da das de dem den der des di dir du e ein eine
    einen el en es est esta et fuer für gli gracias het hij ich ihr ihre il ist je kann la las le les lo los mais mas
    mein meine mi mir mit muy nao nicht niet non nous não o os para pas per perche por pour puis qu que quel questo qui
    se si sie sind sono su sur tu um una und une uns van voor vos votre vous wann warum was wie wir y zu é""".split()
)

_CASUAL = (
    (1.2, re.compile(r"^\W*(?:hey+|yo|hiya|heya|sup|howdy)\b", re.I)),
    (0.4, re.compile(r"^\W*(?:hi|sorry)\b", re.I)),
    (0.3, re.compile(r"\b(?:ok|okay|alright|sure|thanks|bye)\b", re.I)),
    (0.15, re.compile(r"\w!(?!\S)")),
    (
        1.0,
        re.compile(
            r"\b(?:gonna|wanna|gotta|gimme|lemme|dunno|kinda|sorta|u|ur|r|pls|plz|thx|ty|lol|lmao|omg|btw|idk|tho|cuz|"
            r"ya|yeah|yep|yup|nope|nah|cool|awesome|guys?|dude|bro|cya|ain't|y'all|no worries)\b",
            re.I,
        ),
    ),
    (0.35, re.compile(r"\w['\u2019](?:m|re|ve|ll|d|t)\b|\b(?:it|that|what|there|where|who|let)['\u2019]s\b", re.I)),
    (0.5, re.compile(r"\b(?:dont|cant|wont|im|ive|doesnt|didnt|isnt|whats|thats)\b|(?<!\S)i(?=[\s'\u2019])")),
    (0.5, re.compile(r"[!?]{2,}|([a-z])\1{2,}", re.I)),
    (0.7, LIVELY),
)
_FORMAL = (
    (1.2, re.compile(r"^\W*(?:dear|good (?:morning|afternoon|evening|day)|greetings|to whom it)\b", re.I)),
    (0.4, re.compile(r"\bplease\b|\bthank you\b", re.I)),
    (
        0.8,
        re.compile(
            r"\b(?:would you|could you|i would (?:like|appreciate|prefer)|i wish to|may i|might i|kindly|"
            r"i am writing|be so kind|would it be possible|i regret|furthermore|regarding|inquire|sir|madam)\b",
            re.I,
        ),
    ),
    (1.0, re.compile(r"\b(?:(?:best|kind) regards|sincerely|yours faithfully|respectfully)\b", re.I)),
    (
        0.35,
        re.compile(
            r"\b(?:i (?:am|have|will)|(?:it|that|there|what) (?:is|will)|\w+ not|cannot|you (?:are|will))\b", re.I
        ),
    ),
    (0.3, re.compile(r"\b(?:very well|certainly|goodbye|assist\w*|it appears|wish to|excellent|further)\b", re.I)),
)
_CASUAL_START = 0.5
_OPEN_END = 0.3
_FULL_SENTENCE = 0.3


@dataclass(frozen=True)
class Register:
    """How a customer writes.

    Attributes:
        messages: how many messages were looked at, at most MOST_TEXTS.
        words: mean number of words a message.
        emoji: share of messages with an emoji or emoticon, 0 to 1.
        formality: 0 casual, 1 formal, 0.5 unknown.
        exclaims: share of messages with an exclamation mark, 0 to 1.
        language: "en", "other", or "" when there is too little to tell.
    """

    messages: int = 0
    words: float = 0.0
    emoji: float = 0.0
    formality: float = 0.5
    exclaims: float = 0.0
    language: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the register as plain JSON."""
        return asdict(self)


def register_of(texts: Sequence[str]) -> Register:
    """Read the register off a customer's messages, oldest first; the newest MOST_TEXTS count, cut to LONGEST."""
    seen = [text[:LONGEST] for text in texts if isinstance(text, str) and text.strip()][-MOST_TEXTS:]
    if not seen:
        return Register()
    language = language_of(" ".join(seen))
    return Register(
        messages=len(seen),
        words=round(sum(len(_WORD.findall(text)) for text in seen) / len(seen), 2),
        emoji=round(sum(bool(LIVELY.search(text)) for text in seen) / len(seen), 3),
        formality=0.5 if language == "other" else _formality(seen),
        exclaims=round(sum("!" in text for text in seen) / len(seen), 3),
        language=language,
    )


def language_of(text: str) -> str:
    """Return "en", "other", or "" for a text with too few words to tell."""
    found = _WORD.findall(text[: 5 * LONGEST].lower())
    letters = sum(map(len, found))
    if letters and len(_OTHER_SCRIPT.findall(text[: 5 * LONGEST])) > FOREIGN * letters:
        return "other"
    if len(found) < FEW_WORDS:
        return ""
    english = sum(word.replace("'", "").replace("\u2019", "") in STOP_WORDS for word in found)
    if sum(word in _ELSEWHERE for word in found) > english:
        return "other"
    if english >= ENGLISH * len(found) and english:
        return "en"
    return "other" if len(found) > 4 * FEW_WORDS else ""


def _formality(texts: Sequence[str]) -> float:
    casual = formal = 0.0
    for text in texts:
        casual += sum(weight * min(OFTEN, len(sign.findall(text))) for weight, sign in _CASUAL)
        formal += sum(weight * min(OFTEN, len(sign.findall(text))) for weight, sign in _FORMAL)
        informal, full = _sentence(text.strip())
        casual, formal = casual + informal, formal + full
    return round((formal + DOUBT) / (formal + casual + 2 * DOUBT), 3)


def _sentence(text: str) -> tuple[float, float]:
    """Weigh how a message begins and ends: what speaks for casual, and for formal."""
    if text.count(" ") + 1 < FEW_WORDS or not text[0].isalpha():
        return 0.0, 0.0
    ended = text[-1] in ".?!"
    casual = (0.0 if text[0].isupper() else _CASUAL_START) + (0.0 if ended else _OPEN_END)
    return casual, _FULL_SENTENCE if text[0].isupper() and ended else 0.0
