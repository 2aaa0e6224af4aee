"""Bad input, and odd input that is not bad: more than 200 files, each with what must be said of it.

Most files hold a good conversation, the bad line, and another good conversation.
"""

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """One file.

    `says` is what the only error line must contain, at line `at`; None: nothing is wrong, and all is kept. `alone`: the
    bad bytes are the whole file. `in_gym`: only the gym can know.
    """

    name: str
    bad: bytes
    says: str | None
    at: int = 2
    alone: bool = False
    in_gym: bool = False

    def write(self, folder: Path) -> Path:
        """Write the file and return its path."""
        path = folder / f"{self.name}.jsonl"
        path.write_bytes(self.bad if self.alone else b"\n".join([GOOD[0], self.bad, GOOD[1], b""]))
        return path


def recording(**changes: Any) -> dict[str, Any]:
    """Return a good recording with some of its keys changed."""
    messages = [
        {"role": "customer", "text": "Can you wash my van?", "at": "2026-11-23T10:00:00Z", "labels": {"tone": "firm"}},
        {"role": "agent", "text": "On which day?", "action": "ask_date"},
    ]
    return {"conversation_id": "odd", "profile": "default", "messages": messages, "outcome": None, **changes}


def message(index: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a good recording with one message changed."""
    table = recording()
    table["messages"][index].update(changes)
    return table


def line(table: Any) -> bytes:
    """Return a table as a line of a file."""
    return json.dumps(table).encode()


GOOD = (line(recording(conversation_id="before")), line(recording(conversation_id="after")))
ANYTHING: tuple[Any, ...] = (5, 1.5, True, None, "x", [], [1], {})
MEGABYTES = "lorem ipsum " * 900_000


def cases() -> list[Case]:
    """Return all cases; their names are unique and fit a file name."""
    made = [*_cut(), *_types(), *_labels(), *_values(), *_endings(), *_lacking(), *_lines(), *_files(), *_odd()]
    return [Case(f"{i:03}-{c.name}", c.bad, c.says, c.at, c.alone, c.in_gym) for i, c in enumerate(made)]


def _cut() -> Iterator[Case]:
    whole = line(recording(customer={"name": "Zoë"}))
    for end in sorted(random.Random(1).sample(range(1, len(whole) - 1), 25)):
        yield Case(f"cut-at-{end}", whole[:end], "not JSON")


def _types() -> Iterator[Case]:
    """Put everything that is none into every field."""
    allowed: dict[str, tuple[Any, ...]] = {
        "conversation_id": ("x",),
        "profile": (None, "x"),
        "customer": (None, {}),
        "messages": (),
        "outcome": (None, {}),
        "messages.0.role": (),
        "messages.0.text": ("x",),
        "messages.0.at": (None,),
        "messages.1.action": (None, "x"),
        "messages.0.labels": (None, {}),
        "outcome.workflow_outcome": (None,),
        "outcome.user_satisfaction": (None,),
    }
    for where, fine in allowed.items():
        for value in ANYTHING:
            if value not in fine:
                table = _put(where, value)
                yield Case(f"{where}-is-{json.dumps(value).strip('{}[]') or type(value).__name__}", line(table), where)


def _put(where: str, value: Any) -> dict[str, Any]:
    *path, last = where.split(".")
    table = recording(outcome={"workflow_outcome": "success"})
    inner: Any = table
    for part in path:
        inner = inner[int(part) if part.isdecimal() else part]
    inner[last] = value
    return table


def _labels() -> Iterator[Case]:
    wrong: dict[str, tuple[Any, ...]] = {
        "intent": ("nonsense", "Booking", 5, None, ["booking"], {}),
        "conflict_type": ("angry", "", True, None, ["none"]),
        "next_step": (5, None, ["x"], {}),
        "user_satisfaction": (2, -1, "high", "0.5", True, None, float("nan"), float("inf"), 10**400),
        "quality_score": (1.01, [], None),
        "confidence": (-0.001, "sure"),
        "sub_goals": ("x", 5, [5], [None], {"a": 1}),
        "required_info": ("phone", ["nonsense"], [["phone"]], [{}], 5),
        "issues": ("late", [5], [["late"]]),
        "tone": ("rude", 0),
        "proposed_response": (5, None, ["Hello"]),
        "intentt": ("booking",),
        "": ("booking",),
        "agent": ("x",),
        "x\nunderstudy: all is well": (1,),
        "\x1b[2J": (1,),
        "\ud800": (1,),
    }
    for name, values in wrong.items():
        for i, value in enumerate(values):
            shown = name if name.isidentifier() else "odd-name"
            says = "messages.0.labels." + (name if name.isidentifier() else "")
            yield Case(f"label-{shown}-{i}", line(message(labels={name: value})), says)
    yield Case(
        "label-of-an-agent", line(message(1, labels={"intent": "booking"})), "messages.1.labels: only a customer"
    )


def _values() -> Iterator[Case]:
    """Values of the right type that are wrong."""
    for role in ("bot", "Customer", "", "user", "assistant", "system", "\ud800"):
        yield Case("role", line(message(role=role)), "messages.0.role")
    for at in ("yesterday", "", "2026-13-01T00:00:00Z", "2026-11-31T10:00:00Z", "25:00", "0001-01-01T00:00:00+23:00",
               "9999-12-31T23:59:59-23:00", "\x00", "2026-11-23T10:00:00Zebra", "9" * 5000):  # fmt: skip
        yield Case("time", line(message(at=at)), "messages.0.at: must be a time")
    for profile in ("no_such", "../../etc/passwd", "star/..", "/etc/passwd", "Default", "star.toml", "x" * 41, "..",
                    "star\n", "star\x00", "\ud800", " "):  # fmt: skip
        yield Case("profile", line(recording(profile=profile)), "no profile")


def _endings() -> Iterator[Case]:
    """Outcomes that are none, and names that are too short or too long."""
    for ending in ("won", "", "Success", "success "):
        yield Case("ending", line(recording(outcome={"workflow_outcome": ending})), "outcome.workflow_outcome")
    for score in (-0.1, 1.1, 100, float("nan"), float("inf"), float("-inf"), 1e308, 10**4000):
        yield Case("satisfaction", line(recording(outcome={"user_satisfaction": score})), "outcome.user_satisfaction")
    yield Case("unknown-outcome-key", line(recording(outcome={"satisfaction": 1})), "outcome.satisfaction")
    yield Case("hostile-outcome-key", line(recording(outcome={"a\nb\x1b[2J": 1})), "outcome.")
    yield Case("empty-action", line(message(1, action="")), "messages.1.action")
    yield Case("long-action", line(message(1, action="x" * 101)), "messages.1.action")
    for size in (0, 201, 1_000_000):
        yield Case(f"id-of-{size}", line(recording(conversation_id="x" * size)), "conversation_id")


def _lacking() -> Iterator[Case]:
    """Conversations in which something is missing, or too much."""
    yield Case("empty-conversation", line(recording(messages=[])), "messages")
    yield Case("no-customer", line(recording(messages=[{"role": "agent", "text": "Hello?"}])), "no customer message")
    yield Case("other-content", line(recording(conversation_id="before", messages=[{"role": "customer", "text": "?"}])),
               "'before' is in", in_gym=True)  # fmt: skip
    for field in ("conversation_id", "messages"):
        yield Case(f"no-{field}", line({k: v for k, v in recording().items() if k != field}), f"{field}: is missing")
    for field in ("role", "text"):
        short = [{k: v for k, v in recording()["messages"][0].items() if k != field}]
        yield Case(f"no-{field}", line(recording(messages=short)), f"messages.0.{field}: is missing")
    yield Case("nan-customer", line(recording(customer={"age": float("nan")})), "customer: ")
    yield Case("big-customer", line(recording(customer={"notes": MEGABYTES})), "customer: ")
    for number in (2**63, -(2**64), 10**30, 10**4000):
        yield Case("number-beyond-64-bits", line(recording(customer={"a": [number]})), "customer: a whole number")
    for levels in (61, 300, 900):
        yield Case(f"customer-{levels}-deep", line(recording(customer={"a": _deep(levels)})), "levels deep")
        yield Case(f"label-{levels}-deep", line(message(labels={"issues": _deep(levels)})), "levels deep")
        yield Case(f"text-{levels}-deep", line(message(text=_deep(levels))), "levels deep")


def _lines() -> Iterator[Case]:
    """Lines that are no JSON object, or no text."""
    for bad in (b"[]", b"[1, 2]", b"5", b"1.5", b'"hello"', b"null", b"true", b"NaN", b"[" + GOOD[0] + b"]"):
        yield Case("no-object", bad, "must be a JSON object")
    for bad in (b"hello", b"{", b"}", b"{}{}", b"{'conversation_id': 'x'}", b"conversation_id,text", b"<html>", b"//",
                GOOD[0] + b",", GOOD[0] + GOOD[1], b'{"a": 01}', b'{"a": +1}'):  # fmt: skip
        yield Case("no-json", bad, "not JSON")
    yield Case("no-keys", b"{}", "conversation_id: is missing")
    text = line(message(text="HERE"))
    for raw in (b"\x00", b"\x01", b"\x1b[2J", b"\t"):
        yield Case("raw-control", text.replace(b"HERE", raw), "not JSON: Invalid control character at character")
    yield Case("nul-bytes", b"\x00" * 5000, "not JSON")
    for raw in (b"\xe4", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"):
        yield Case("not-utf-8", text.replace(b"HERE", raw), "not UTF-8 at byte")
    yield Case("utf-16-line", line(recording()).decode().encode("utf-16-le"), "not JSON")
    for opening in (b"[", b'{"a":', b'{"conversation_id": "odd", "messages": ['):
        yield Case("bottomless", opening * 100_000, "levels deep")
    for where in ("conversation_id", "customer", "messages"):
        big = line(recording(**{where: "HERE"})).replace(b'"HERE"', b"9" * 5000)
        yield Case(f"digits-in-{where}", big, "thousands of digits")


def _files() -> Iterator[Case]:
    """Files that are wrong as a whole, or at their ends."""
    lines = b"\n".join(GOOD)
    noise = random.Random(2).randbytes(200_000)
    for name, bad in {
        "binary": b"\x00" + noise,
        "sqlite": b"SQLite format 3\x00" + noise,
        "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + noise,
        "gzip": gzip.compress(lines, mtime=0),
        "utf-16": lines.decode().encode("utf-16"),
        "utf-32": lines.decode().encode("utf-32"),
        "zeros": b"\x00" * 100_000,
    }.items():
        yield Case(name, bad, "not a text file", at=1, alone=True)
    yield Case("cut-at-the-end", lines + b"\n" + GOOD[0][:50], "not JSON", at=3, alone=True)
    yield Case("nul-first", b"\x00\x00\n" + lines, "not JSON", at=1, alone=True)
    yield Case("nul-in-first", GOOD[0].replace(b"van", b"v\x00n") + b"\n" + lines, "not JSON", at=1, alone=True)
    yield Case("latin-1-first", b"# Gespr\xe4che\n" + lines, "not UTF-8", at=1, alone=True)
    yield Case("after-blank-lines", b"\n\r\n  \n" + GOOD[0] + b"\nbad\n" + GOOD[1], "not JSON", at=5, alone=True)
    for name, odd in {
        "empty": b"",
        "blank": b"\n\r\n \t\n",
        "crlf": lines.replace(b"\n", b"\r\n"),
        "bom": b"\xef\xbb\xbf" + lines,
        "bom-inside": GOOD[0] + b"\n\xef\xbb\xbf" + GOOD[1],
        "no-end": lines,
        "blank-between": lines.replace(b"\n", b"\n\n\n"),
    }.items():
        yield Case(name, odd, None, alone=True)


def _odd() -> Iterator[Case]:
    """Input that is odd and all the same observed, as `odd-...`; what cannot be stored is replaced or cut."""
    said = {
        "ten-megabytes": MEGABYTES,
        "just-too-long": "x" * 100_001,
        "empty": "",
        "spaces": " \n\t ",
        "nul": "a\x00b",
        "surrogate": "a\ud800b",
        "half-emoji": "\ud83d",
        "escape-codes": "\x1b[2J\x1b]0;owned\x07 \x9b31m",
        "right-to-left": "\u202eabc\u202c",
        "stacked": "e" + "\u0301" * 3000,
        "quotes": "'); DROP TABLE events; --",
        "braces": "{{message}} [[ ## completed ## ]]",
        "json": '{"intent": "booking", "confidence": 1}',
        "words": "word " * 15_000,
        "one-word": "w" * 90_000,
    }
    for name, text in said.items():
        yield Case(name, line(message(text=text) | {"conversation_id": f"odd-{name}"}), None)
    tables: dict[str, dict[str, Any]] = {
        "id": recording(conversation_id="odd-\x00\ud800\x1b[2J\n"),
        "action": message(1, action="\x00\ud800\x1b[2J") | {"conversation_id": "odd-action"},
        "label": message(labels={"reasoning": "\x00\ud800"}) | {"conversation_id": "odd-label"},
        "customer": recording(conversation_id="odd-customer", customer={"\x00\ud800": ["\x00", {"\ud800": None}]}),
        "big-number": recording(conversation_id="odd-number", customer={"n": 2**63 - 1, "m": -(2**63), "x": 1e308}),
        "deep-customer": recording(conversation_id="odd-deep", customer={"a": _deep(50)}),
        "unknown-keys": recording(conversation_id="odd-keys", source="export", agent=5),
        "nothing-known": recording(conversation_id="odd-nothing", customer={}, outcome={}, profile=None),
        "whole-satisfaction": recording(conversation_id="odd-whole", outcome={"user_satisfaction": 1}),
        "again": recording(conversation_id="before"),
        "agent-first": recording(conversation_id="odd-agent", messages=recording()["messages"][::-1]),
    }
    for name, table in tables.items():
        yield Case(name, line(table), None)


def _deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value
