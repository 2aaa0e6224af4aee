"""What counts as an instruction: sentences that a person can read, which give away nothing of a customer."""

import json
import re
from collections import Counter
from collections.abc import Iterable

from understudy.lm.errors import ModelError

LONGEST = 6000
"""Characters of an instruction."""

QUOTE = 6
"""Words in a row that make a quote of somebody."""

MARKS = tuple(
    f"<{end}{name}>" for name in ("instruction", "fields", "current_instruction", "data") for end in ("", "/")
)
LONGEST_RUN = 60
"""Words without any punctuation between them."""

_WORD = re.compile(r"[^\W_]+")
_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL)
_PRIVATE = re.compile(r"[\w.+-]+@[\w-]+\.\w+|https?://\S|www\.\w|\d{5,}")
_CODE = re.compile(
    r"^\s*(?:def |class |import |from \w+ import|return\b|function |const |let |var |#include|<\w+)", re.M
)


class Unreadable(ModelError):
    """A text is no instruction; `kind` is one word for the reason, to count by."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def without_thinking(answer: str) -> tuple[str, bool]:
    """Return an answer without what was thought before it, and whether there was any; open thinking has no end."""
    text = _THINKING.sub("", answer)
    text = text.rpartition("</think>")[2]
    text = re.sub(r"<(?:think|thinking|reasoning)>.*", "", text, flags=re.DOTALL)
    return text, text != answer


def check_text(text: str, before: str, said: Iterable[str], frame: frozenset[str]) -> None:
    """Check a new instruction against the one before, what customers said, and the spans of the prompt's own words.

    Raises:
        Unreadable: it is none.
    """
    if len(_WORD.findall(text)) < 5:
        raise Unreadable("empty", "the instruction is empty")
    if len(text) > LONGEST:
        raise Unreadable("long", f"the instruction has {len(text):,} characters; {LONGEST:,} are allowed")
    if text.split() == before.split():
        raise Unreadable("same", "the instruction is the same as before")
    if _is_json(text):
        raise Unreadable("json", "the instruction is JSON; write sentences")
    if any(mark in text for mark in MARKS) or not frame.isdisjoint(spans(text, 10)):
        raise Unreadable("echo", "the instruction repeats what you were asked")
    _check_sentences(text)
    if _PRIVATE.search(text):
        raise Unreadable("private", "the instruction holds an address, a link or a long number; leave them out")
    told = spans(text, QUOTE) - spans(before, QUOTE)
    if any(not told.isdisjoint(spans(one, QUOTE)) for one in said):
        raise Unreadable("quote", f"the instruction quotes a customer; keep quotes under {QUOTE} words")


def _is_json(text: str) -> bool:
    if text[:1] not in "{[":
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _check_sentences(text: str) -> None:
    if not text.isprintable() and not "".join(text.split()).isprintable():
        raise Unreadable("nonsense", "the instruction holds signs that cannot be printed")
    if _CODE.search(text) or len(re.findall(r"[{}<>=|\\~^]", text.replace("->", ""))) > max(5, len(text) / 100):
        raise Unreadable("code", "the instruction is code; write sentences")
    words = text.split()
    letters = sum(char.isalpha() or char.isspace() or char in "_,.\"':;-" for char in text)
    if letters < 0.85 * len(text) or max(map(len, words)) > 80:
        raise Unreadable("nonsense", "the instruction is no text; write sentences")
    if any(len(run.split()) > LONGEST_RUN for run in re.split(r"[.,:;!?\n\"()–—]", text)):
        raise Unreadable("breathless", f"there are over {LONGEST_RUN} words without punctuation; write sentences")
    _check_repeats(text)


def _check_repeats(text: str) -> None:
    lines = Counter(line.strip() for line in text.splitlines() if len(line.strip()) > 12)
    words = _WORD.findall(text.lower())
    runs = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    again = sum(n - 1 for n in runs.values())
    if max(lines.values(), default=0) > 2 or again > max(20, len(words) / 3):
        raise Unreadable("repeats", "the instruction says the same over and over")


def spans(text: str, length: int) -> frozenset[str]:
    """Return every run of so many words in a text, in small letters and without punctuation."""
    words = _WORD.findall(text.lower())
    return frozenset(" ".join(words[i : i + length]) for i in range(len(words) - length + 1))
