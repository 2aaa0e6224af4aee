"""Turn a CSV export of chats into conversations that `understudy replay` reads.

    python examples/convert_csv.py export.csv > conversations.jsonl
    understudy replay conversations.jsonl

One row is one message. Standard library only, so the file works wherever you copy it.
"""

import argparse
import csv
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROLES: dict[str, tuple[str, ...]] = {
    "customer": ("customer", "user", "human", "client", "visitor"),
    "agent": ("agent", "assistant", "bot", "ai", "operator", "support"),
    "ignore": (),
}
"""What the column of roles may say for each role; the command line can say otherwise."""

MAX_CELL = 16 * 1024 * 1024
"""Characters of one cell; Python's own limit is 131,072."""

HELP = """\
A row is a message. The file needs a first row with the names of its columns, and these columns in any order:

  conversation  what tells one conversation from another; its rows may stand anywhere in the file
  role          who wrote it: customer (or user, human, client, visitor), agent (or assistant, bot, ai, ...)
  text          what was written; line breaks inside quotes are kept
  time          when, if you have it: 2026-11-23T10:00:00Z, or 2026-11-23 10:00 (UTC is assumed)

For example:

  conversation,role,text,time
  c1,customer,"Can you take my van on Friday?",2026-11-23 10:00
  c1,agent,"Yes, at nine or at two.",2026-11-23 10:01

becomes one line:

  {"conversation_id": "c1", "messages": [{"role": "customer", "text": "Can you take my van on Friday?", ...

Messages are put in order of time where there is one, otherwise they stay in the order of their rows. A row that cannot
be used is named on stderr with its line, the others are kept, and the exit status is 1."""

EXAMPLES = """\
examples:
  python examples/convert_csv.py export.csv > conversations.jsonl
  python examples/convert_csv.py export.csv --conversation ticket_id --role author --text body --time created_at
  python examples/convert_csv.py export.csv --customer caller,guest --agent staff --ignore system,note
  python examples/convert_csv.py excel.csv --delimiter ';' --encoding cp1252 --time-format '%d.%m.%Y %H:%M'"""


class BadRow(ValueError):
    """A row cannot be used; the message says why."""


class BadFile(Exception):
    """Nothing of the file can be used; the message says why."""


@dataclass
class Message:
    """One good row."""

    line: int
    conversation: str
    role: str
    text: str
    time: datetime | None


@dataclass
class Export:
    """A CSV file and how to read it; `complaints` grows while reading, one line for each bad row."""

    options: argparse.Namespace
    complaints: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    width: int = 0

    @property
    def not_text(self) -> str:
        """What is wrong with bytes that cannot be decoded."""
        return (
            f"is not {self.options.encoding.removesuffix('-sig')}; give the right --encoding, such as cp1252 or utf-16"
        )

    def complain(self, line: int, reason: str) -> None:
        """Tell what is wrong with a row."""
        self.complaints += 1
        print(f"{self.options.file}:{line}: {reason}", file=sys.stderr)

    def messages(self) -> Iterator[Message]:
        """Yield the good rows.

        Raises:
            BadFile: it is no CSV file with these columns.
        """
        try:
            with self.options.file.open(encoding=self.options.encoding, errors="surrogateescape", newline="") as file:
                # Strict tells of a quote that is never closed; otherwise it would swallow the rest of the file.
                reader = csv.reader(file, delimiter=self.options.delimiter, strict=True)
                rows = self._rows(reader)
                self._read_header(next(rows, None))
                for line, row in rows:
                    try:
                        message = self._message(line, row)
                    except BadRow as reason:
                        self.complain(line, str(reason))
                    else:
                        if message:
                            yield message
        except OSError as error:
            raise BadFile(f"cannot be read: {error.strerror}") from None
        except UnicodeError:
            raise BadFile(self.not_text) from None

    def _rows(self, reader: Any) -> Iterator[tuple[int, list[str]]]:
        """Yield each row with the line it starts at; a blank one says nothing."""
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                lost = f"; lines {line} to {reader.line_num} are lost" if reader.line_num > line else ""
                self.complain(line, f"not CSV: {_reason(error)}{lost}")
                continue
            if any(cell.strip() for cell in row):
                yield line, row

    def _read_header(self, first: tuple[int, list[str]] | None) -> None:
        if first is None:
            raise BadFile("is empty; the first row names the columns")
        names = first[1]
        if not _is_text("".join(names)):
            raise BadFile(self.not_text)
        self.width = len(names)
        places = {name.strip().casefold(): i for i, name in reversed(list(enumerate(names)))}
        wanted = {part: getattr(self.options, part) or part for part in ("conversation", "role", "text", "time")}
        self.columns = {part: places[n.casefold()] for part, n in wanted.items() if n.casefold() in places}
        # Only a column of times that was asked for by name has to be there.
        missing = [
            n for part, n in wanted.items() if part not in self.columns and (part != "time" or self.options.time)
        ]
        if missing:
            there = ", ".join(repr(name[:60]) for name in names[:50])
            hint = "" if self.width > 1 else f"; is the delimiter {self.options.delimiter!r}? See --delimiter"
            raise BadFile(f"no column {' or '.join(map(repr, missing))}; there are {there}{hint}")

    def _message(self, line: int, row: list[str]) -> Message | None:
        """Return the message in a row, or None when its role is to be ignored.

        Raises:
            BadRow: there is none.
        """
        if len(row) != self.width:
            raise BadRow(f"{len(row)} cells where the first row has {self.width}")
        cell = {part: row[place].strip() for part, place in self.columns.items()}
        for part, text in cell.items():
            if not _is_text(text):
                raise BadRow(f"{part} {self.not_text}")
        role = self.options.roles.get(cell["role"].casefold())
        if role == "ignore":
            return None
        if role is None:
            known = ", ".join(self.options.roles)
            raise BadRow(f"unknown role {cell['role'][:60]!r}; known are {known}; see --customer, --agent, --ignore")
        if not 0 < len(cell["conversation"]) <= 200:
            raise BadRow("conversation is empty" if not cell["conversation"] else "conversation is over 200 characters")
        if not cell["text"]:
            raise BadRow("text is empty")
        return Message(line, cell["conversation"], role, cell["text"], self._moment(cell.get("time", "")))

    def _moment(self, text: str) -> datetime | None:
        if not text:
            return None
        pattern = self.options.time_format
        try:
            moment = datetime.strptime(text, pattern) if pattern else datetime.fromisoformat(text)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            wanted = f"--time-format is {pattern!r}" if pattern else "write 2026-11-23T10:00:00Z, or see --time-format"
            raise BadRow(f"bad time {text[:60]!r}; {wanted}") from None


def conversations(export: Export) -> Iterator[dict[str, Any]]:
    """Yield the conversations of an export, in the order in which they first appear.

    Raises:
        BadFile: as `Export.messages` does.
    """
    grouped: dict[str, list[Message]] = {}
    for message in export.messages():
        grouped.setdefault(message.conversation, []).append(message)
    for name, messages in grouped.items():
        if not any(message.role == "customer" for message in messages):
            export.complain(messages[0].line, f"conversation {name[:60]!r} has no message of the customer")
            continue
        profile = {"profile": export.options.profile} if export.options.profile else {}
        yield {"conversation_id": name, **profile, "messages": [_line(message) for message in _in_order(messages)]}


def _in_order(messages: list[Message]) -> list[Message]:
    """Return them by time; one without a time stays behind the one that it follows."""
    latest = datetime.min.replace(tzinfo=UTC)
    times = [latest := message.time or latest for message in messages]
    return [messages[i] for i in sorted(range(len(messages)), key=times.__getitem__)]


def _line(message: Message) -> dict[str, str]:
    at = {"at": message.time.isoformat().replace("+00:00", "Z")} if message.time else {}
    return {"role": message.role, "text": message.text, **at}


def _is_text(text: str) -> bool:
    """Say whether all bytes could be decoded; the others stand in the text as lone surrogates."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _reason(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text:
        return "a quote that opens here is never closed"
    return "a quote inside a quoted cell is not doubled, or one is never closed" if "expected after" in text else text


def write(tables: Iterable[dict[str, Any]], out: Path | None) -> int:
    """Write a JSON line for each table to a file, or to stdout, and return how many; the file is replaced at the end.

    Raises:
        OSError: it cannot be written.
    """
    lines = (json.dumps(table, ensure_ascii=False) + "\n" for table in tables)
    if out is None:
        count = _count(sys.stdout.buffer.write, lines)
        sys.stdout.flush()
        return count
    part = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            count = _count(file.write, lines)
        if count:
            part.replace(out)
        return count
    finally:
        part.unlink(missing_ok=True)


def _count(put: Callable[[bytes], int], lines: Iterator[str]) -> int:
    return sum(put(line.encode()) > 0 for line in lines)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().casefold() for name in text.split(",") if name.strip())


def _delimiter(text: str) -> str:
    text = "\t" if text in ("\\t", "tab") else text
    if len(text) != 1 or text in '"\r\n':
        raise argparse.ArgumentTypeError(f"{text!r} is not one character (for a tab write 'tab')")
    return text


def _encoding(text: str) -> str:
    try:
        "".encode(text)
    except LookupError:
        raise argparse.ArgumentTypeError(f"no encoding {text!r}; such as utf-8, cp1252, utf-16") from None
    return "utf-8-sig" if text.casefold().replace("_", "-") in ("utf-8", "utf8") else text


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return what the command line says; `roles` maps what the column says to customer, agent or ignore."""
    parser = argparse.ArgumentParser(
        description=HELP, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="the CSV export")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write here instead of stdout, all or nothing")
    columns = parser.add_argument_group("names of the columns")
    for part in ("conversation", "role", "text", "time"):
        columns.add_argument(f"--{part}", metavar="COLUMN", help=f"default: {part}")
    values = parser.add_argument_group("what the cells say")
    for role, names in ROLES.items():
        default = f"default: {','.join(names)}" if names else "left out without a word, such as system"
        values.add_argument(f"--{role}", type=_names, metavar="A,B", help=default)
    values.add_argument("--time-format", metavar="FORMAT", help="as in strptime, such as '%%d/%%m/%%Y %%H:%%M'")
    values.add_argument("--profile", help="profile of the conversations; without it replay takes BRAIN_PROFILE")
    values.add_argument("--delimiter", type=_delimiter, default=",", metavar="CHAR", help="';' or tab; default: ,")
    values.add_argument("--encoding", type=_encoding, default="utf-8-sig", help="default: utf-8, with a BOM or without")
    given = parser.parse_args(arguments)
    said = {role: getattr(given, role) for role in ROLES}
    given.roles = {name: role for role, names in ROLES.items() if said[role] is None for name in names}
    given.roles |= {name: role for role, names in said.items() for name in names or ()}
    if given.out and given.out.resolve() == given.file.resolve():
        parser.error("--out is the export itself")
    return given


def main() -> int:
    """Convert one export; 1 when something was wrong."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `| head` ends quietly
    csv.field_size_limit(MAX_CELL)
    export = Export(options())
    try:
        count = write(conversations(export), export.options.out)
    except BadFile as error:
        print(f"{export.options.file}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{export.options.out or 'stdout'}: cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    if not count:
        print(f"{export.options.file}: no conversation in it, nothing written", file=sys.stderr)
    return int(not count or export.complaints > 0)


if __name__ == "__main__":
    sys.exit(main())
