"""The gym's file on disks that are in trouble: one line says what, where, and what to do."""

import errno
import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from understudy.benchmarks.bad_input import GOOD
from understudy.benchmarks.prove import run_cli
from understudy.checkpoints import file
from understudy.checkpoints.file import GymError
from understudy.checkpoints.gym import Gym
from understudy.graph.child import place
from understudy.nodes.ab_life import begin
from understudy.nodes.brain import Brain
from understudy.settings import Settings
from understudy.tests.disks import read_only, small_disk


@pytest.fixture
def disk(home: Path) -> Iterator[Path]:
    """A disk of its own with a gym of two conversations and a running A/B test; it can still be written."""
    (home / "c.jsonl").write_bytes(b"\n".join(GOOD))
    assert run_cli("replay", "c.jsonl")[0] == 0
    brain = Brain(Settings())
    begin(brain, "default", "intent", "v0.0", "v0.0", name="t")
    assert brain.gym is not None
    brain.gym.close()
    with small_disk(home / "disk", "10m") as disk:
        shutil.copy("brain_gym.db", disk)
        yield disk


@pytest.fixture
def settings(disk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RL_GYM_DB_PATH", str(disk / "brain_gym.db"))
    monkeypatch.setenv("OPTIMIZED_MODULES_DIR", str(disk / "optimized_modules"))
    return disk


def test_what_only_reads_works_on_a_read_only_disk(settings: Path) -> None:
    read_only(settings)
    for command in (("status",), ("versions",), ("export", "out.jsonl"), ("ab", "status"), ("suggestions",)):
        status, out, err = run_cli(*command, "--json")
        assert (status, err) == (0, "") and json.loads(out)
    assert len(Path("out.jsonl").read_text().splitlines()) == 2
    status, out, err = run_cli("backup", "copy", "--json")
    assert (status, err) == (0, "") and json.loads(out)["decisions"] == 2


@pytest.mark.parametrize("command", ["replay c.jsonl", "label before 0 intent=booking", "ab stop t", "serve"])
def test_what_writes_says_that_the_disk_is_read_only(settings: Path, command: str) -> None:
    read_only(settings)
    status, out, err = run_cli(*command.split())
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith(f"understudy: gym {settings}/brain_gym.db: ") and err.endswith(
        "; its disk is read-only; copy it to one that can be written, and set RL_GYM_DB_PATH to the copy\n"
    )


def test_a_gym_cannot_be_made_on_a_read_only_disk(settings: Path) -> None:
    (settings / "brain_gym.db").unlink()
    read_only(settings)
    with pytest.raises(GymError, match="Read-only file system.*; its disk is read-only; copy it to one"):
        Gym(settings / "brain_gym.db")


def test_rows_that_were_not_folded_in_are_not_passed_over(settings: Path) -> None:
    """A machine that was cut off leaves them in the log beside the file."""
    (settings / "brain_gym.db-wal").write_bytes(b"x" * 100)
    read_only(settings)
    status, _, err = run_cli("status")
    assert status == 1 and "its newest rows are in brain_gym.db-wal; its disk is read-only; copy it" in err


def test_what_others_write_is_seen_through_a_read_only_mount(settings: Path) -> None:
    with closing(sqlite3.connect(settings / "brain_gym.db")) as other:
        other.execute("UPDATE events SET processed_at = NULL WHERE conversation_id = 'before'")
        other.commit()
        shutil.copytree(settings, "as it was")
    for name in ("brain_gym.db", "brain_gym.db-wal", "brain_gym.db-shm"):
        shutil.copy(Path("as it was", name), settings)
    read_only(settings)
    status, out, _ = run_cli("status", "--json")
    assert status == 0 and json.loads(out)["backlog"] == 1


@pytest.mark.parametrize("command", ["optimize", "dream", "outcome before --satisfaction 1", "replay more.jsonl"])
def test_a_full_disk_is_one_line_whatever_was_begun(
    settings: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.delenv("OPTIMIZED_MODULES_DIR")
    Path("more.jsonl").write_bytes(GOOD[0].replace(b'"before"', b'"more"'))
    status, out, err = run_cli("status", "--json")
    before = json.loads(out)
    with pytest.raises(OSError, match="No space left"), (settings / "filling").open("wb", buffering=0) as filling:
        while True:
            filling.write(b"x" * 4096)
    status, out, err = run_cli(*command.split())
    assert (status, out) == (1, "")
    assert err == (
        f"understudy: gym {settings}/brain_gym.db: database or disk is full; what was written before is kept; make room"
        " and run it again\n"
    )
    (settings / "filling").unlink()
    assert json.loads(run_cli("status", "--json")[1])["decisions"] == before["decisions"]
    assert run_cli(*command.split())[0] == 0


def test_an_older_gym_on_a_read_only_disk_is_told(settings: Path) -> None:
    with closing(sqlite3.connect(settings / "brain_gym.db")) as gym:
        gym.execute("DELETE FROM _sqlite_migrations WHERE name = 'm010_jobs'")
        gym.commit()
    read_only(settings)
    status, _, err = run_cli("status")
    assert status == 1 and "was made by an older understudy, and its disk is read-only; copy it" in err


def test_a_folder_that_cannot_be_written_is_told(home: Path) -> None:
    Gym(home / "g.db").close()
    (home / "g.db").chmod(0o666)
    home.chmod(0o555)
    me = os.geteuid()
    os.seteuid(me or 65534)  # root may write anything: let nobody try
    try:
        with pytest.raises(GymError, match="its folder must be writable too: SQLite keeps two files beside it"):
            Gym(Path("g.db"))
    finally:
        os.seteuid(me)
        home.chmod(0o700)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_that_cannot_lock_is_told(home: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        with pytest.raises(GymError, match="its disk cannot lock; put the gym on a disk of this machine"):
            Gym(home / "g.db")
        with pytest.raises(GymError, match="g.db-job: cannot be locked: "), place(home / "g.db"):
            pass
    Gym(home / "g.db").close()
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        status, _, err = run_cli("optimize", RL_GYM_DB_PATH="g.db")
    assert status == 1 and "optimized_modules/default: cannot be locked: " in err and "on a local disk" in err


def test_a_disk_without_shared_memory_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def without(path: Path, **options: Any) -> sqlite3.Connection:
        return connect(f"{path.resolve().as_uri()}?vfs=unix-dotfile", **{**options, "uri": True})

    monkeypatch.setattr(sqlite3, "connect", without)
    with pytest.raises(GymError, match=r"several processes \(WAL\) cannot be used; put the gym on a disk of this"):
        Gym(home / "g.db")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("locking protocol", "its disk cannot lock; put the gym on a disk of this machine"),
        ("disk I/O error", "its disk fails, or another program has changed the file; stop what uses it"),
        ("database is locked", "another program holds it; close that one and run it again"),
    ],
)
def test_what_sqlite_says_comes_with_what_to_do(home: Path, said: str, advice: str) -> None:
    with pytest.raises(GymError, match=f"^gym g.db: {said}; {advice}"), file.explained(Path("g.db")):
        raise sqlite3.OperationalError(said)


def test_a_full_disk_is_not_taken_for_a_broken_one(settings: Path) -> None:
    """SQLite says "disk I/O error" when it has no room for the file in which it notes who reads what."""
    with pytest.raises(OSError, match="No space left"), (settings / "filling").open("wb", buffering=0) as filling:
        while True:
            filling.write(b"x" * 4096)
    for command in (("status",), ("backup", "copy")):
        status, _, err = run_cli(*command)
        assert status == 1 and "disk I/O error; what was written before is kept; make room and run it again" in err


def test_a_file_that_shrinks_meanwhile_is_told(home: Path) -> None:
    (home / "c.jsonl").write_bytes(b"\n".join(GOOD))
    assert run_cli("replay", "c.jsonl")[0] == 0
    gym = Gym(home / "brain_gym.db")
    os.truncate(home / "brain_gym.db", 3 * 8192)
    with pytest.raises(GymError, match="; it is damaged; stop|; its disk fails, or another program has changed the"):
        list(gym.decisions())
    gym.close()
