"""The report of one optimisation run: a page for people, a few lines for a terminal.

A run is what `understudy optimize --json` prints. Any key may be missing or odd: the run may be old, or killed halfway.
Its texts come from models and settings; they are shown and never obeyed: `_visible` and jinja2's escaping are the door.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from difflib import SequenceMatcher
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from understudy.showing import printable

LONGEST = 5000
"""Characters of any text on the page. Names, reasons and instructions are cut sooner, before they join others."""

LONGEST_NAME = 60
LONGEST_REASON = 600
LONGEST_SENTENCE = 2000
LONGEST_INSTRUCTION = 12_000
MOST_SENTENCES = 400
MOST_CANDIDATES = 60
MOST_REASONS = 20

LABELS = {
    "published": "better, in use",
    "candidate": "not proved yet",
    "rejected": "not taken",
    "skipped": "not tried",
    "error": "failed",
}

_PLAIN_NAME = re.compile(r"\w[\w.]*", re.ASCII)
_SENTENCE_END = re.compile(r"(?<=[.!?])[ \t]+(?=\S)")
_WORDS = re.compile(r"\S+\s*|\s+")


class _Pair(NamedTuple):
    """A figure of the old and of the new version."""

    old: float | None
    new: float | None


class _Difference(NamedTuple):
    """New minus old on a zero line: the figures, and the difference at the picture's right edge."""

    gain: float
    low: float | None
    high: float | None
    """None: nothing is said of the upper end."""
    reach: float

    def at(self, value: float) -> float:
        """Return where a difference stands, in percent of the picture's width."""
        return round(50 + 46 * max(-1.0, min(1.0, value / self.reach)), 2)


class Line(NamedTuple):
    """A sentence of the diff; each part with whether it changed. Sign: - removed, + added, ~ for sentences left out."""

    sign: str
    parts: list[tuple[str, bool]]


class _Candidate(NamedTuple):
    """A dot of the family tree, steps from the left; `above` is the row of its parent."""

    number: int
    depth: int
    above: int | None
    score: float | None
    best: bool


class _Module:
    """What there is to say of one module."""

    def __init__(self, name: str, result: Mapping[str, Any]) -> None:
        self.name, self.status = _cut(name, LONGEST_NAME), _text(result, "status")
        self.label = LABELS.get(self.status, "no verdict")
        self.reason = _text(result, "reason")
        self.version, self.parent = _text(result, "version", LONGEST_NAME), _text(result, "parent", LONGEST_NAME)
        self.scores = _Pair(_number(result.get("baseline_score")), _number(result.get("score")))
        self.balanced, self.faults, self.tokens, self.latency = (
            _pair(result.get(key)) for key in ("balanced", "faults", "tokens", "latency_ms")
        )
        keys = (
            "train_size val_size test_size sealed_conversations gated_before metric_calls seconds avg_score"
            " dream_score dream_size"
        ).split()
        self.figures = {key: _number(result.get(key)) for key in keys}
        self.odds = _odds(_number(result.get("level")))
        self.difference = _difference(_number(result.get("improvement")), self.scores, result.get("interval"))
        self.finds = Counter(_text(_map(find), "why") or "no reason is recorded" for find in _items(result, "finds"))
        # What carries a customer's data is not shown: this page may go where the gym's file does not.
        self.diff = None if self.finds else _diff_of(_map(result.get("instruction")))
        self.tree = _tree(_items(result, "lineage"))
        self.tried, self.accepted = (_number(result.get(f"candidates_{end}")) for end in ("tried", "accepted"))
        self.useless = _counts(result.get("proposals_rejected"))
        self.masked = ", ".join(
            f"{count:,.0f} {_cut(kind, 40)}" for kind, count in _counts(result.get("masked")).items()
        )
        self.verdict = _verdict(self)
        plain = _PLAIN_NAME.fullmatch(self.name) and _PLAIN_NAME.fullmatch(self.parent)
        self.undo = f"understudy rollback {self.name} {self.parent}" if plain else "understudy rollback MODULE VERSION"


def page(run: Mapping[str, Any]) -> str:
    """Return one HTML page that asks for nothing from outside."""
    modules = _modules(run)
    return _template().render(
        {key: _text(run, key) for key in ("run_id", "profile", "engine", "student", "teacher")},
        headline=_headline(run, modules),
        times=_times(run),
        decisions=_number(run.get("decisions_processed")),
        modules=modules,
        published=[module for module in modules if module.status == "published"],
        most_candidates=MOST_CANDIDATES,
    )


def summary(run: Mapping[str, Any]) -> list[str]:
    """Return the report as a few lines of plain text, without control characters."""
    modules = _modules(run)
    about = (f"run {_text(run, 'run_id') or '?'}", f"profile {_text(run, 'profile') or '?'}", _times(run))
    width = max((len(_visible(module.name)) for module in modules), default=0)
    lines = [", ".join(filter(None, about)), _headline(run, modules)]
    lines += [f"  {_visible(module.name):<{width}}  {_scored(module)}{module.verdict}" for module in modules]
    lines += [f"kept from the teacher, {module.name}: {module.masked}" for module in modules if module.masked]
    lines += [f"to go back: {module.undo}" for module in modules if module.status == "published"]
    return [str(_visible(line)) for line in lines]


def _modules(run: Mapping[str, Any]) -> list[_Module]:
    return [_Module(str(name), _map(result)) for name, result in _map(run.get("module_results")).items()]


def _headline(run: Mapping[str, Any], modules: list[_Module]) -> str:
    """Return the verdict on the whole run."""
    better = [module.name for module in modules if module.status == "published"]
    unproved = [module.name for module in modules if module.status == "candidate"]
    rest = [f"{m.name} ({m.label})" for m in modules if m.status not in ("published", "candidate")]
    of = f"{len(better) or 'none'} of {len(modules)} module{'s' * (len(modules) != 1)}"
    are = "are" if len(better) > 1 else "is"
    parts = [f"{of} got better and {are} in use: {', '.join(better)}" if better else f"{of} {are} proved to be better"]
    parts += [f"seemingly better, but not proved and not in use: {', '.join(unproved)}"] * bool(unproved)
    parts += [f"as before: {', '.join(rest)}"] * bool(rest)
    opening = _opening(run)
    return _sentences(opening, "; ".join(parts) if modules else "" if opening else "no module was looked at")


def _opening(run: Mapping[str, Any]) -> str:
    """Return what comes before the verdict on a run that did not end well, or has something to say."""
    status, reason = _text(run, "status"), _text(run, "reason")
    if status in ("error", "skipped"):
        opening = "the run failed" if status == "error" else "nothing was optimised"
        return f"{opening}: {reason or 'no reason is recorded'}"
    if not run.get("ended_at"):
        return "the run has not ended, or was stopped; this is what is known so far"
    return reason


def _verdict(module: _Module) -> str:
    """Return what was proved of a module, or what was not and why."""
    before, version = module.parent or "the version before", module.version or "the new version"
    if module.status == "published":
        return _sentences(f"{version} is in use instead of {before}", _proof(module))
    stays = f"{before} stays in use"
    if module.status == "candidate":
        stays += f"; {version} answers beside it until their A/B test decides"
    elif module.status not in LABELS:
        stays = "The run may have been stopped before it came to one"
    return _sentences(module.label, module.reason, stays)


def _proof(module: _Module) -> str:
    """Return what a published version has proved; one that a person or a shadow test chose may have no proof here."""
    difference = module.difference
    if not difference or difference.low is None or difference.low <= 0:
        return f"the figures of this run are no proof that it is better{module.reason and f': {module.reason}'}"
    odds = f" (error chance {module.odds})" if module.odds else ""
    return f"proved on conversations it had never seen: better by at least {_signed(difference.low)}{odds}"


def _scored(module: _Module) -> str:
    old, new = module.scores
    return "" if old is None or new is None else f"{old:.3f} -> {new:.3f}. "


def _difference(gain: float | None, scores: _Pair, interval: Any) -> _Difference | None:
    """Return the picture's figures; an upper end of 1 says nothing, since no difference is higher."""
    if gain is None and scores.old is not None and scores.new is not None:
        gain = scores.new - scores.old
    if gain is None:
        return None
    low, high, *_ = [*map(_number, interval if isinstance(interval, list | tuple) else ()), None, None]
    high = high if high is not None and high < 1 else None
    widest = max(abs(value) for value in (gain, low, high, 0.01) if value is not None)
    return _Difference(gain, low, high, min(1.0, widest * 1.25))


def _diff_of(instruction: Mapping[str, Any]) -> list[Line] | None:
    """Return the change of an instruction; None when the two are not recorded."""
    before, after = (str(instruction.get(side) or "") for side in ("old", "new"))
    return diff(before, after) if before or after else None


def diff(before: str, after: str) -> list[Line]:
    """Return what changed in an instruction, a sentence a line, with two kept ones around; nothing if nothing did."""
    old, new = _split(before), _split(after)
    lines, end = [], 0
    for group in SequenceMatcher(None, old, new).get_grouped_opcodes(2):
        lines += _left_out(group[0][1] - end)
        for kind, a, b, c, d in group:
            same = kind == "equal"
            lines += [Line(" ", [(text, False)]) for text in old[a:b]] if same else _changed(old[a:b], new[c:d])
        end = group[-1][2]
    if lines:
        return lines + _left_out(len(old) - end)
    unseen = [Line("~", [("they differ in white space, or beyond what is shown here", False)])]
    return unseen if before != after else []


def _left_out(count: int) -> list[Line]:
    return [Line("~", [(f"{count} unchanged sentence{'s' * (count > 1)} not shown", False)])] if count else []


def _changed(old: list[str], new: list[str]) -> Iterator[Line]:
    """Put each sentence beside the one in its place, and mark the words that differ if most are the same."""
    for before, after in zip_longest(old, new):
        old_words, new_words = (_WORDS.findall(text or "") for text in (before, after))
        match = SequenceMatcher(None, old_words, new_words)
        alike, codes = match.ratio() > 0.4, match.get_opcodes()
        removed = [("".join(old_words[a:b]), alike and kind != "equal") for kind, a, b, _, _ in codes if a < b]
        added = [("".join(new_words[c:d]), alike and kind != "equal") for kind, _, _, c, d in codes if c < d]
        yield from [Line("-", removed)] * (before is not None) + [Line("+", added)] * (after is not None)


def _split(instruction: str) -> list[str]:
    lines = instruction[:LONGEST_INSTRUCTION].split("\n")
    found = [part for line in lines if line.strip() for part in _SENTENCE_END.split(line)]
    more = len(found) - MOST_SENTENCES, len(instruction) - LONGEST_INSTRUCTION
    notes = [f"({more[0]:,} more sentences)"] * (more[0] > 0) + [f"({more[1]:,} more characters)"] * (more[1] > 0)
    return [_cut(part, LONGEST_SENTENCE) for part in found[:MOST_SENTENCES]] + notes


def _tree(lineage: list[Any]) -> list[_Candidate]:
    """Return the candidates in the order a tree is read; one whose parent did not come before it is a root."""
    numbered = {int(n): one for one in map(_map, lineage) if (n := _number(one.get("candidate"))) is not None}
    children: dict[int | None, list[int]] = defaultdict(list)
    for number, one in sorted(numbered.items()):
        parent = _number(one.get("parent"))
        children[int(parent) if parent in numbered and parent < number else None].append(number)
    tree: list[_Candidate] = []
    ahead: list[tuple[int, int, int | None]] = [(number, 0, None) for number in reversed(children[None])]
    while ahead:
        number, depth, above = ahead.pop()
        score, best = _number(numbered[number].get("val_score")), numbered[number].get("best") is True
        tree.append(_Candidate(number, depth, above, score, best))
        ahead += [(child, depth + 1, len(tree) - 1) for child in reversed(children[number])]
    return tree


def _counts(counts: Any) -> dict[str, float]:
    """Return how often each thing came, the most frequent first."""
    found = [(str(what), _number(count) or 0) for what, count in _map(counts).items()]
    return dict(sorted(found, key=lambda one: -one[1])[:MOST_REASONS])


def _sentences(*parts: str) -> str:
    """Write each part as a sentence; the name of a version keeps its small letter."""
    whole = (part.strip().removesuffix(".") for part in parts)
    return " ".join(f"{p if re.match(r'v[0-9]', p) else p[:1].upper() + p[1:]}." for p in whole if p)


def _signed(value: float) -> str:
    """Return a difference with three digits, or as many as show that it is not zero."""
    text = f"{value:+.3f}"
    return text if float(text) or not value else f"{value:+.1g}"


def _odds(level: float | None) -> str:
    return f"1 in {1 / level:,.0f}" if level and 1e-12 < level < 1 else ""


def _times(run: Mapping[str, Any]) -> str:
    began, ended = _time(run.get("started_at")), _time(run.get("ended_at"))
    if began is None:
        return ""
    lasted = f", {_duration((ended - began).total_seconds())}" if ended else ""
    return f"{began:%Y-%m-%d %H:%M %Z}{lasted}"


def _time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    if not minutes:
        return f"{max(0.0, seconds):.1f} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _number(value: Any) -> float | None:
    """Return a number, or None for what is none, is not finite or is absurd."""
    sound = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
    return float(value) if sound else None


def _pair(value: Any) -> _Pair:
    return _Pair(_number(_map(value).get("old")), _number(_map(value).get("new")))


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(values: Mapping[str, Any], key: str) -> list[Any]:
    value = values.get(key)
    return value if isinstance(value, list) else []


def _text(values: Mapping[str, Any], key: str, longest: int = LONGEST_REASON) -> str:
    value = values.get(key)
    return "" if value is None else _cut(str(value), longest)


def _cut(text: str, longest: int) -> str:
    more = len(text) - longest
    return f"{text[:longest]}… ({more:,} more characters)" if more > 0 else text


def _visible(value: Any) -> Any:
    """Return a text with what is obeyed or invisible written out, and not endless."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return printable(_cut(value, LONGEST))


@cache
def _template() -> Template:
    """Return the page; every text in it passes `_visible` and is escaped."""
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=folder,
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"signed": _signed, "duration": _duration}
    return environment.get_template("report.html")
