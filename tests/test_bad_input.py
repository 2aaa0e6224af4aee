"""Bad input: one clear line with file and line number, and all that is good around it is kept."""

import asyncio
import gzip
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from understudy import recording
from understudy.benchmarks.bad_input import GOOD, MEGABYTES, Case, cases
from understudy.benchmarks.prove import observe, rows, run_cli, without_checkpoint
from understudy.checkpoints.file import GymError
from understudy.checkpoints.gym import Gym
from understudy.intake import CUT_MARK, MAX_TEXT, clean_json
from understudy.recording import MAX_LISTED, Lines

CASES = cases()
SURE = [case for case in CASES if not case.in_gym]


@pytest.mark.parametrize("case", SURE, ids=lambda case: ascii(case.name))
def test_a_bad_line_is_one_line_of_error(home: Path, case: Case) -> None:
    path = case.write(home)
    lines = Lines([path], "default")
    found = [recording.conversation_id for _, recording in lines]
    if case.says is None:
        assert lines.errors == []
    else:
        (error,) = lines.errors
        assert error.startswith(f"{path}:{case.at}: ") and case.says in error
        assert len(error.splitlines()) == 1 and len(error) < 1500
    assert lines.skipped == len(lines.errors)
    if not case.alone:
        assert (found[0], found[-1], len(found)) == ("before", "after", 2 + (case.says is None))


def test_there_are_at_least_200_of_them() -> None:
    assert sum(case.says is not None for case in CASES) >= 200
    assert len({case.name for case in CASES}) == len(CASES)


def test_all_of_them_in_one_gym(home: Path) -> None:
    """What passes the reader must pass the graph, the gym and the checkpoint too."""
    status, out, err = run_cli("replay", *(str(case.write(home)) for case in CASES), "--json")
    wrong = [case for case in CASES if case.says is not None]
    assert status == 1 and len(err.splitlines()) == len(wrong)
    for case, error in zip(wrong, err.splitlines(), strict=True):
        assert error.startswith(f"understudy: {home / case.name}.jsonl:{case.at}: ") and str(case.says) in error
        assert error.isprintable()
    found = json.loads(out)
    kept = {row["conversation_id"]: row for row in rows(home / "brain_gym.db")["brain_decisions"]}
    odd = [case for case in CASES if case.says is None and not case.alone]
    assert len(kept) == found["conversations"] == found["decisions"] == 2 + len(odd) - 1  # one is "before" again
    assert found["faults"] == 0 and found["skipped"] == len(wrong)
    assert without_checkpoint(home / "brain_gym.db") == 0
    assert kept["odd-ten-megabytes"]["user_message"] == MEGABYTES[: MAX_TEXT - len(CUT_MARK)] + CUT_MARK
    assert kept["odd-nul"]["user_message"] == "a\ufffdb" and kept["odd-surrogate"]["user_message"] == "a?b"


def test_a_file_that_cannot_be_read_is_one_line(home: Path) -> None:
    (home / "folder.jsonl").mkdir()
    (home / "good.jsonl").write_bytes(GOOD[0])
    unreadable = "/proc/self/mem"  # opens, and cannot be read, whoever asks
    names = ["folder.jsonl", "missing.jsonl", "folder.jsonl/x.jsonl", unreadable, "good.jsonl"]
    lines = Lines([Path(name) for name in names if Path(name).exists() or name != unreadable], "default")
    assert [recording.conversation_id for _, recording in lines] == ["before"]
    assert lines.errors[:3] == [
        "folder.jsonl: cannot be read: Is a directory",
        "missing.jsonl: cannot be read: No such file or directory",
        "folder.jsonl/x.jsonl: cannot be read: No such file or directory",
    ]
    assert lines.errors[3:] in ([], [f"{unreadable}: cannot be read: Input/output error"])


def test_a_line_too_long_to_hold_is_skipped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_LINE", 1024 * 1024)
    path = home / "long.jsonl"
    path.write_bytes(GOOD[0] + b"\n" + b"x" * 5_000_000 + b"\n" + GOOD[1] + b"\n" + b"x" * (1024 * 1024 + 1))
    lines = Lines([path], "default")
    assert [recording.conversation_id for _, recording in lines] == ["before", "after"]
    assert lines.errors == [f"{path}:{n}: longer than 1 MiB; split the conversation" for n in (2, 4)]


def test_many_bad_lines_do_not_flood_the_terminal(home: Path) -> None:
    path = home / "bad.jsonl"
    path.write_bytes(b"bad\n" * 1000 + GOOD[0])
    lines = Lines([path], "default")
    assert len(list(lines)) == 1 and lines.skipped == 1000
    assert len(lines.errors) == MAX_LISTED + 1 and lines.errors[-1] == f"{path}: 980 more lines are wrong"


@pytest.mark.parametrize("suffix", ["jsonl.gz", "zip"])
def test_a_packed_file_is_named_as_no_text(home: Path, suffix: str) -> None:
    path = home / f"c.{suffix}"
    path.write_bytes(gzip.compress(b"\n".join(GOOD)) if suffix.endswith("gz") else b"PK\x03\x04\x14\x00" + GOOD[0])
    lines = Lines([path], "default")
    assert list(lines) == [] and lines.errors == [f"{path}:1: not a text file; a line holds one conversation as JSON"]


def test_text_that_looks_like_an_escape_is_text() -> None:
    assert clean_json({"path": "C:\\u0000"}) == {"path": "C:\\u0000"}


# The gym


def _newer(path: Path) -> None:
    Gym(path).close()
    db = Database(path)
    db["_sqlite_migrations"].insert({"migration_set": "understudy", "name": "m999_later", "applied_at": "2099-01-01"})
    db.close()


BAD_GYMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "directory": (Path.mkdir, "gym {}: [Errno 21] Is a directory: '{}'; check RL_GYM_DB_PATH"),
    "text": (
        lambda path: path.write_text("hello\n" * 1000),
        "gym {}: file is not a database; it is not a gym or is damaged; move it away, or set RL_GYM_DB_PATH to another"
        " file",
    ),
    "newer": (_newer, "{} was made by a newer understudy (m999_later); upgrade this one to open it"),
    "loop": (lambda path: path.symlink_to(path), "gym {}: [Errno 40] Too many levels of symbolic links: '{}'; check"),
}


@pytest.mark.parametrize("name", BAD_GYMS)
@pytest.mark.parametrize("command", [("replay", "good.jsonl"), ("status",), ("export", "-")], ids=lambda c: c[0])
def test_a_gym_that_cannot_be_used_is_one_line(home: Path, name: str, command: tuple[str, ...]) -> None:
    (home / "good.jsonl").write_bytes(GOOD[0])
    make, says = BAD_GYMS[name]
    make(home / "g.db")
    status, out, err = run_cli(*command, "--json", RL_GYM_DB_PATH="g.db")
    assert (status, out) == (1, "") and err.startswith(f"understudy: {says.format('g.db', 'g.db')}")
    assert len(err.splitlines()) == 1


def test_a_gym_that_may_not_be_written_is_one_line(home: Path) -> None:
    Gym(Path("g.db")).close()
    Path("g.db").chmod(0o400)
    home.chmod(0o755)
    me = os.geteuid()
    os.seteuid(me or 65534)  # root may write anything: let nobody try
    try:
        with pytest.raises(GymError) as error:
            Gym(Path("g.db"))
    finally:
        os.seteuid(me)
    assert str(error.value) == (
        "gym g.db: [Errno 13] Permission denied: 'g.db'; it cannot be written; check its owner and mode"
    )


def _limit(monkeypatch: pytest.MonkeyPatch, pages: int, who: str) -> None:
    """Let the gym's connection or the saver's (SQLite counts for each) think that the disk is full at some size."""
    connect = sqlite3.connect

    def limited(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        if ("cached_statements" in options) == (who == "gym"):
            connection.execute(f"PRAGMA max_page_count={pages}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", limited)


@pytest.mark.parametrize("who", ["gym", "saver"])
@pytest.mark.parametrize("more", [0, 1, 3])
def test_a_full_disk_is_one_line_and_the_rest_follows_later(
    home: Path, monkeypatch: pytest.MonkeyPatch, who: str, more: int
) -> None:
    file = home / "c.jsonl"
    table = json.loads(GOOD[0])
    file.write_text("".join(json.dumps({**table, "conversation_id": f"c{i}"}) + "\n" for i in range(12)))
    asyncio.run(observe(home / "roomy.db", file))
    (home / "empty.jsonl").touch()
    asyncio.run(observe(home / "full.db", home / "empty.jsonl"))
    with closing(sqlite3.connect(home / "full.db")) as gym:
        pages = gym.execute("PRAGMA page_count").fetchone()[0]
    with monkeypatch.context() as patch:
        _limit(patch, pages + more, who)
        status, out, err = run_cli("replay", str(file), "--json", RL_GYM_DB_PATH="full.db")
    assert (status, out) == (1, "") and len(err.splitlines()) == 1
    assert err.startswith("understudy: gym full.db: database or disk is full; what was written before is kept")
    before = len(rows(home / "full.db")["brain_decisions"])
    assert before < 12
    status, out, err = run_cli("replay", str(file), "--json", RL_GYM_DB_PATH="full.db")
    assert (status, err) == (0, "") and json.loads(out)["decisions"] == 12
    assert rows(home / "full.db") == rows(home / "roomy.db")
    assert without_checkpoint(home / "full.db") == 0


def test_a_damaged_gym_is_one_line(home: Path) -> None:
    asyncio.run(observe(home / "g.db", Path(os.devnull)))
    content = bytearray((home / "g.db").read_bytes())
    content[5000:40_000] = b"?" * 35_000
    (home / "g.db").write_bytes(content)
    with pytest.raises(
        GymError, match="it is damaged; stop what uses it, and restore a backup or run: understudy doctor --repair"
    ):
        asyncio.run(observe(home / "g.db", Path(os.devnull)))
