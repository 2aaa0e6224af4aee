"""Find the dates, times, prices and numbers among the words of a text."""

import re
from collections.abc import Iterator

from understudy.lm.words import STOP_WORDS
from understudy.nodes.tokens import Fact, FactKind, Token
from understudy.nodes.vocabulary import (
    AFTERWARDS,
    DAYS,
    MONEY,
    MONTHS,
    NEED_CAPITAL,
    PERIODS,
    PLEASANT,
    RELATIONS,
    SPANS,
    UNITS,
    WHICH,
)

MOST_GROUPS = 8
"""Groups of digits that may be one number."""


def dates_of(tokens: list[Token]) -> tuple[list[Fact], set[int]]:
    """Find days and periods; also return which tokens they took."""
    facts: list[Fact] = []
    used: set[int] = set()
    for i, token in enumerate(tokens):
        form = token.form
        if token.kind == "day":
            facts += _written_day(tokens, i)
        elif token.kind != "word" or form in NEED_CAPITAL and not is_date(tokens, i):
            continue
        elif form in MONTHS:
            day = next((j for j in _beside(tokens, i) if j not in used and _day_number(tokens[j])), None)
            number = "" if day is None else f" {_day_number(tokens[day])}"
            used |= {i} if day is None else {i, day}
            start = i if day is None else min(i, day)
            facts.append(_fact("date", MONTHS[form] + number, token.text + number, tokens, i, start))
        else:
            facts += _day(tokens, i)
    return facts, used


def _fact(kind: FactKind, form: str, shown: str, tokens: list[Token], place: int, start: int | None = None) -> Fact:
    """Return a fact with its relation (before, until ...) in front."""
    relation = _relation(tokens, place if start is None else start)
    shown = f"{relation} {shown}".strip().replace("atleast", "at least").replace("atmost", "at most")
    return Fact(kind, f"{relation} {form}".strip(), shown, place, tokens[place].clause)


def _written_day(tokens: list[Token], i: int) -> list[Fact]:
    text = tokens[i].text
    iso = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])-(\d{2})", text)
    if not iso:
        return [_fact("date", text, text, tokens, i)]
    month = list(dict.fromkeys(MONTHS.values()))[int(iso[2]) - 1]
    year = Fact("number", iso[1], text, i, tokens[i].clause)
    return [_fact("date", f"{month} {int(iso[3])}", text, tokens, i), year]


def is_date(tokens: list[Token], i: int) -> bool:
    """Say whether a word that may be another one (may, sun, march) is a day or month here."""
    if tokens[i].form in MONTHS and any(_day_number(tokens[j]) for j in _beside(tokens, i)):
        return True
    return tokens[i].text[0].isupper() and (not tokens[i].first or tokens[i].form not in ("may", "march"))


def _beside(tokens: list[Token], i: int) -> Iterator[int]:
    """Yield the places before and after a month where its day may stand."""
    for step in (-1, 1):
        j = i + step
        while 0 <= j < len(tokens) and abs(j - i) < 4 and tokens[j].form in ("of", "the", "-"):
            j += step
        if 0 <= j < len(tokens):
            yield j


def _day_number(token: Token) -> str:
    number = re.fullmatch(r"0?([1-9]|[12]\d|3[01])(?:st|nd|rd|th)?", token.text)
    return number[1] if number and token.kind == "number" else ""


def _day(tokens: list[Token], i: int) -> list[Fact]:
    before = tokens[i - 1].form if i else ""
    form, which = tokens[i].form, WHICH.get(before, "")
    if form in DAYS and before not in PLEASANT or form in PERIODS and which:
        name = f"{which} {DAYS.get(form) or PERIODS[form]}".strip()
        return [_fact("date", name, name, tokens, i, i - 1 if which else i)]
    if form in SPANS and form not in ("minute", "second") and before in ("a", "an"):
        lead = tokens[i - 2].form if i > 1 and tokens[i - 2].form in ("in", "for") else ""
        form, shown = f"{lead} 1 {form}".strip(), f"{lead} {before} {form}".strip()
        return [_fact("date", form, shown, tokens, i, i - 1)]
    return []


def _relation(tokens: list[Token], i: int) -> str:
    """Return the words that say how something relates to what follows: before, until, at least ..."""
    found: list[str] = []
    j = i - 1
    while j >= 0 and i - j < 5 and tokens[j].form in RELATIONS | {"the", "a", "an", "at", "on"} | set(MONEY):
        found += [tokens[j].form] if tokens[j].form in RELATIONS else []
        j -= 1
    ranges = ("-", "to", "until")
    if j > 0 and tokens[j].form in ranges and j == i - 1 and _measures(tokens[j - 1]):
        found.append("to")
    if found[-1:] == ["from"] and any(token.form in ranges for token in tokens[i + 1 : i + 3]):
        found.pop()
    return " ".join(reversed(found))


def _measures(token: Token) -> bool:
    return token.kind in ("number", "clock", "day") or token.form in DAYS or token.form in UNITS


def amounts_of(tokens: list[Token], used: set[int]) -> list[Fact]:
    """Find numbers, prices, codes and times of day; note which words are their units."""
    facts: list[Fact] = []
    i = 0
    while i < len(tokens):
        token, step = tokens[i], 1
        if token.kind == "clock" or token.form in ("noon", "midday", "midnight"):
            facts.append(_fact("time", _time(token.form), token.text, tokens, i))
        elif token.kind == "code":
            facts.append(Fact("number", token.form, token.text, i, token.clause))
        elif token.kind == "number" and i not in used or _is_one(tokens, i):
            fact, step = _amount(tokens, i, used)
            facts.append(fact)
        elif token.form in ("half", "twice", "double", "triple", "couple"):
            facts.append(Fact("number", token.form, token.text, i, token.clause))
        i += step
    return facts


def _time(form: str) -> str:
    """Return a time of day by the 24-hour clock; ? stands for an unknown half of the day."""
    if form in ("noon", "midday", "midnight"):
        return "00:00" if form == "midnight" else "12:00"
    parts = re.match(r"(\d+)(?:[:.](\d\d))?(:\d\d)? *([ap]?)", form)
    if not parts or parts[4] and not 0 < int(parts[1]) < 13:
        return form
    hour, half = int(parts[1]), parts[4]
    shown = hour % 12 + 12 * (half == "p") if half else hour
    return f"{shown:02}:{parts[2] or '00'}{parts[3] or ''}{'' if half or not 0 < hour < 13 else '?'}"


def _is_one(tokens: list[Token], i: int) -> bool:
    """Say whether `one` counts something: one ticket, but not this one, one moment, one of them."""
    if tokens[i].form != "one" or i + 1 >= len(tokens):
        return False
    before, after = (tokens[i - 1].form if i else ""), tokens[i + 1]
    taken = before in ("this", "that", "the", "which", "another", "any", "each", "every", "other", "only", "no")
    countable = after.kind == "word" and (after.form == "more" or after.form not in STOP_WORDS)
    return not taken and (countable or after.form == "-") and after.form not in ("moment", "sec", "second")


def _amount(tokens: list[Token], i: int, used: set[int]) -> tuple[Fact, int]:
    """Read a number with its sign, currency or unit; also return how many tokens it takes."""
    text, end = _digits(tokens, i)
    text, start = "1" if text == "one" else text, i
    if i and tokens[i - 1].form == "-" and not (i > 1 and _measures(tokens[i - 2])) and _tight(tokens, i):
        text = f"-{text}"
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        text = text.replace(",", "")
    kind: FactKind = "number"
    money = MONEY.get(tokens[i - 1].form) if i else None
    after = end + (end + 1 < len(tokens) and tokens[end].form == "-")
    unit = tokens[after].form if after < len(tokens) else ""
    form, shown = text, text
    if money or unit in MONEY:
        kind, form = "price", f"{money or MONEY[unit]} {re.sub(r'[.,]00$', '', text)}"
        shown = f"{tokens[i - 1].text}{text}" if money else f"{text} {unit}"
        start, end = i - bool(money), end if money else after + 1
    else:
        first = after
        while after < len(tokens) and tokens[after].form in UNITS and after - first < 3:
            form, shown = f"{form} {UNITS[tokens[after].form]}", f"{shown} {tokens[after].text}"
            used.add(after)
            after += 1
        end = after if after > first else end
    form, shown = _framed(tokens, start, end, form, shown)
    return _fact(kind, form, shown, tokens, i, start), end - i


def _tight(tokens: list[Token], i: int) -> bool:
    """Say whether a dash before a number is a minus: nothing but a word or the beginning comes before it."""
    return i < 2 or tokens[i - 2].kind == "word" and tokens[i - 2].form not in UNITS


def _framed(tokens: list[Token], start: int, end: int, form: str, shown: str) -> tuple[str, str]:
    """Add what stands around a measure and changes it: in 5 minutes, 5 days ago, 3 or more."""
    before = tokens[start - 1].form if start else ""
    if before in ("in", "for", *WHICH) and form.rpartition(" ")[2] in SPANS:
        form, shown = f"{before} {form}", f"{before} {shown}"
    after = [token.form for token in tokens[end : end + 2]]
    if after[:1] and after[0] in AFTERWARDS:
        return f"{form} {after[0]}", f"{shown} {after[0]}"
    if len(after) == 2 and after[0] == "or" and after[1] in ("more", "less", "greater", "fewer", "later", "earlier"):
        return f"{form} or {after[1]}", f"{shown} or {after[1]}"
    if after in (["at", "most"], ["at", "least"]):
        return f"at{after[1]} {form}", f"{shown} at {after[1]}"
    return form, shown


def _digits(tokens: list[Token], i: int) -> tuple[str, int]:
    """Join the groups of a long number such as a phone's; also return where it ends."""
    end, groups, gaps = i + 1, [tokens[i].text], ""
    while end < len(tokens) and len(groups) < MOST_GROUPS:
        j = end + (tokens[end].form in ("-", "(", ")"))
        if j >= len(tokens) or tokens[j].kind != "number" or not tokens[j].text.isdigit() or len(tokens[j].text) < 2:
            break
        gaps += tokens[end].form if j > end else " "
        groups.append(tokens[j].text)
        end = j + 1
    total = sum(map(len, groups))
    is_range = len(groups) == 2 and "-" in gaps and len(groups[0]) == len(groups[1]) < 5 and groups[0] < groups[1]
    measured = end < len(tokens) and (tokens[end].form in UNITS or tokens[end].form in MONEY)
    long = total >= (7 if "-" in gaps else 6)
    if len(groups) > 1 and long and groups[0].isdigit() and not is_range and not measured:
        return "".join(groups), end
    return groups[0], i + 1
