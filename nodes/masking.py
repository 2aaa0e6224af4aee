"""Find what in a text is somebody's address or number (e-mail, URL, phone, card, account), and put a tag there.

Patterns look at a folded text: compatibility forms plain, accents and look-alikes as their Latin letter, invisible
characters gone. So a zero-width space hides nothing, and what is found still has its place in the original.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

TraceKind = Literal["email", "url", "iban", "card", "phone", "number", "customer"]
"""A customer is no address: see `redaction`, which puts tags for the values of customers' objects."""

SHORTEST_NUMBER = 5
PHONE_DIGITS = range(7, 16)
CARD_DIGITS = range(13, 20)
IBAN_LENGTHS = range(15, 35)

_INVISIBLE = ("Cc", "Cf", "Cn", "Co", "Cs", "Me", "Mn")
_FILLERS = "\u115f\u1160\u3164\uffa0"
# Apostrophes, dashes, then the Cyrillic and Greek letters that look Latin.
_ALIKE: dict[int, str | int] = str.maketrans(
    "\u2018\u2019\u02bc\u2010\u2011\u2012\u2013\u2014\u2212"
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0406\u0408\u0405"
    "\u03b1\u03bf\u03bd\u03c1\u03b9\u03ba\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
    "'''------aeopcyxijsdhABEKMHOPCTXIJSaovpikABEZHIKMNOPTYX",
) | str.maketrans(dict(zip("łŁøØđĐıæÆœŒ", "l L o O d D i ae AE oe OE".split(), strict=True)))


class _Folds(dict[int, str]):
    """How each code point reads, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        letters = unicodedata.normalize("NFKD", chr(code))
        seen = (c for c in letters if c.isspace() or unicodedata.category(c) not in _INVISIBLE and c not in _FILLERS)
        self[code] = "".join(seen).translate(_ALIKE)
        return self[code]


_FOLDS = _Folds()


class Trace(NamedTuple):
    """An address or a number, and where it stands in the folded text."""

    kind: TraceKind
    start: int
    end: int


def folded(text: str) -> str:
    """Return the text as a reader sees it, in plain letters; case stays."""
    return text.translate(_FOLDS)


def origins(text: str) -> list[int]:
    """Return for each character of the folded text where it stands in the text itself."""
    return [place for place, letter in enumerate(text) for _ in _FOLDS[ord(letter)]]


def masked(text: str) -> tuple[str, dict[str, int]]:
    """Put tags such as [email] and [phone] in the place of addresses and numbers; also return how many of each kind.

    Dates, times, prices and runs of less than five digits stay. A longer run that is no phone or card becomes
    [number]: it may be an account or a PIN, no model learns from its digits, and a program that quotes it is refused.
    """
    found = traces(folded(text))
    return tagged(text, found), dict(Counter(trace.kind for trace in found))


def tagged(text: str, found: Sequence[Trace]) -> str:
    """Put a tag in each place that was found in the folded text; they come in order and do not overlap."""
    if not found:
        return text
    parts, done, places = [], 0, origins(text)
    for trace in found:
        parts += [text[done : places[trace.start]], f"[{trace.kind}]"]
        done = places[trace.end - 1] + 1
    return "".join([*parts, text[done:]])


def traces(plain: str) -> list[Trace]:
    """Find addresses and numbers in a folded text, in the order they stand; none overlaps another."""
    found: list[Trace] = []
    for kind, pattern, length in _ADDRESSES:
        plain = pattern.sub(partial(_taken, found, kind, length), plain)
    plain = _HARMLESS.sub(lambda match: "\0" * len(match[0]), plain)
    for chain in _CARDS.finditer(plain):
        for card in _cards(chain):
            found.append(card)
            plain = plain[: card.start] + "\0" * (card.end - card.start) + plain[card.end :]
    for chain in _CHAIN.finditer(plain):
        found += _plain_numbers(chain)
    return sorted(found, key=lambda trace: trace.start)


def _taken(found: list[Trace], kind: TraceKind, length: Callable[[str], int], match: re.Match[str]) -> str:
    """Note a match, and return NULs for it, which no later pattern takes."""
    size = length(match[0])
    if size:
        found.append(Trace(kind, match.start(), match.start() + size))
    return "\0" * size + match[0][size:]


def _link_length(text: str) -> int:
    return len(text.rstrip(".,;:!?'*)]}"))


def _account_length(text: str) -> int:
    """Return where an account number ends whose check digits are right (ISO 13616, mod 97), or 0.

    It may go on for some groups less than the text does: `DE89 3704 0044 0532 0130 00 now`.
    """
    for end in sorted((gap.start() for gap in re.finditer(r"[ .-]|$", text)), reverse=True):
        digits = re.sub("[ .-]", "", text[:end])
        turned = digits[4:] + digits[:4]
        if len(digits) in IBAN_LENGTHS and int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1:
            return end
    return 0


_OPEN, _SHUT = r"\s{0,2}[\[({<]\s{0,2}", r"\s{0,2}[\])}>]\s{0,2}"
_LOCAL, _LABEL = r"[^\s@,;:<>()\[\]\"\0]{1,64}", r"[^\W_](?:[\w-]{0,62}[^\W_])?"
_AT, _DOT = rf"(?:\s{{0,2}}@\s{{0,2}}|{_OPEN}(?:at|@|a){_SHUT})", rf"(?:\.|{_OPEN}(?:dot|\.){_SHUT})"
_EMAIL = rf"{_LOCAL}{_AT}{_LABEL}(?:{_DOT}{_LABEL})+|{_LOCAL}\s+at\s+{_LABEL}(?:\s+dot\s+{_LABEL})+"
_REST = r"[^\s<>\"\0]"
_LINK = rf"\b(?:[a-z][a-z0-9+.-]{{1,15}}://|www\d?\.){_REST}+"
# No ending that is an English word too (it, is, me, to): the missing space of "booked.it was" would make a domain.
_ENDING = "|".join(
    "com net org edu gov mil int info biz app dev shop store online site xyz io ai tv cc eu uk de fr nl es pl se dk fi "
    "cz ch ru cn jp kr br au ca mx nz ie pt gr hu ro sk si hr bg ua tr il za sg hk tw example invalid".split()
)
_HOST = rf"(?<![\w@.-])(?:localhost|\d{{1,3}}(?:\.\d{{1,3}}){{3}})(?::\d{{1,5}}(?:/{_REST}*)?|/{_REST}+)"
_BARE = (
    rf"{_HOST}|(?<![\w@.-])(?:{_LABEL}\.){{1,8}}(?:(?:{_ENDING})(?![\w@-])(?:[/?#:]{_REST}*)?|[a-z]{{2,24}}/{_REST}+)"
)
# In one piece, or in groups of four of which only the last may be shorter: any words after a plate would do otherwise.
_IBAN = (
    r"\b[a-z]{2}[ .-]?\d\d(?:[a-z0-9]{11,30}|[ .-][a-z0-9]{11,30}|(?:[ .-][a-z0-9]{4}){2,7}(?:[ .-][a-z0-9]{1,4})?)\b"
)
_ADDRESSES: tuple[tuple[TraceKind, re.Pattern[str], Callable[[str], int]], ...] = (
    ("url", re.compile(_LINK, re.IGNORECASE), _link_length),
    ("email", re.compile(_EMAIL, re.IGNORECASE), len),
    ("url", re.compile(_BARE, re.IGNORECASE), _link_length),
    ("iban", re.compile(_IBAN, re.IGNORECASE | re.ASCII), _account_length),
)

_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_SUM, _COIN = r"\d{1,3}(?:[., ]\d{3})*(?:[.,]\d{1,2})?", r"(?:[€$£¥]|\b(?:eur|usd|gbp|chf)\b)"
_ALONE = r"(?<![\d+])(?<!\d[./-])(?:{})(?!\d)(?![./-]\d)"
_HARMLESS = re.compile(
    "|".join(
        [
            _ALONE.format(rf"{_YEAR}([-./ ]){_MONTH}\1{_DAY}"),
            _ALONE.format(rf"{_DAY}([-./ ]){_MONTH}\2{_YEAR}|{_MONTH}([-./ ]){_DAY}\3{_YEAR}|{_YEAR}\s?[-/]\s?{_YEAR}"),
            _ALONE.format(r"\d{1,3}[.:h]\d\d\s?-\s?\d{1,3}[.:h]\d\d|[01]\.\d{1,4}"),
            rf"{_COIN}\s?{_SUM}(?!\d|\s?-|[. ]\d)|(?<![\d+])(?<!\d[./ -]){_SUM}\s?{_COIN}",
        ]
    ),
    re.IGNORECASE,
)
"""Dates, spans of years, opening hours, numbers from 0 to 1.9999, prices."""

_CARDS = re.compile(r"\d{4,19}(?:[\s.,|*/()_-]{1,3}\d{1,19})*")
_CHAIN = re.compile(r"(?:\(?\+\s?|\()?\d+(?:(?:[ .()_-]{1,3}|/)\d+)*")


def _groups(chain: re.Match[str]) -> list[tuple[int, str]]:
    return [(chain.start() + run.start(), run[0]) for run in re.finditer(r"\d+", chain[0])]


def _cards(chain: re.Match[str]) -> Iterator[Trace]:
    """Find the cards in groups of digits, whatever stands between them: check digits tell them."""
    groups, first = _groups(chain), 0
    while first < len(groups):
        size = _card_size([digits for _, digits in groups[first : first + 5]])
        if size:
            yield Trace("card", groups[first][0], _end(groups[first + size - 1]))
        first += size or 1


def _end(group: tuple[int, str]) -> int:
    return group[0] + len(group[1])


def _card_size(groups: list[str]) -> int:
    """Return how many of the groups make a card number with a right check digit (Luhn), or 0."""
    for size in range(len(groups), 0, -1):
        shape, digits = [len(group) for group in groups[:size]], "".join(groups[:size])
        shaped = size == 1 or shape[0] == 4 and all(length in (4, 6) for length in shape[:-1])
        if shaped and len(digits) in CARD_DIGITS and int(digits[0]) in range(2, 7) and _luhn(digits):
            return size
    return 0


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(int(digit) for digit in digits[::-2])) % 10 == 0


def _plain_numbers(chain: re.Match[str]) -> Iterator[Trace]:
    groups = _groups(chain)
    total = sum(len(digits) for _, digits in groups)
    if len(groups) > 1 and total >= PHONE_DIGITS.start:
        start = chain.start() if groups[0][0] - chain.start() < 3 else groups[0][0]
        yield Trace("phone" if total in PHONE_DIGITS else "number", start, _end(groups[-1]))
        return
    for group in groups:
        place, digits = group
        if len(digits) >= SHORTEST_NUMBER:
            called = len(digits) in PHONE_DIGITS and (chain[0][0] == "+" or digits[0] == "0" and len(digits) > 8)
            start = chain.start() if chain[0][0] == "+" and group is groups[0] else place
            yield Trace("phone" if called else "number", start, _end(group))
