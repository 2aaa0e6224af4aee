"""What the gym holds of jobs: who may start them, when they ran and what came of it; every SQL statement on it.

Time is measured on `time.monotonic`, which is the same in all processes of a machine until it starts anew, and which
nobody can set. Calendar time is written beside it, for people, and for the time between two starts of the machine.
"""

import json
import sqlite3
import subprocess
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

from understudy.checkpoints.file import GymFile, now

OPTIMIZE, DREAM, RETENTION = "optimize", "dream", "retention"
SCHEDULER, INBOX = "scheduler", "inbox"
"""Names of leases."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, what process that is (pid, host, command), and in how many seconds it expires."""

    owner: str
    what: dict[str, Any]
    taken_at: str
    left: float


@dataclass(frozen=True)
class Job:
    """A job as the table has it."""

    name: str
    profile: str
    mark: int
    run_id: str | None
    started_at: str | None
    ended_at: str | None
    status: str | None
    reason: str | None
    hindrance: str | None
    next_at: str | None
    since_at: str
    since_boot: str
    since_monotonic: float

    @property
    def waited(self) -> float:
        """Seconds since the interval to the next run began; a beginning that lies in the future is now."""
        if self.since_boot == boot():
            return max(0.0, monotonic() - self.since_monotonic)
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(self.since_at)).total_seconds())


_COLUMNS = tuple(field.name for field in fields(Job))

_RUNS = (
    "(SELECT 'optimize' AS kind, run_id, profile, started_at, ended_at, status, report FROM optimization_runs"
    " UNION ALL SELECT 'dream', cycle, profile, started_at, ended_at, status, report FROM dream_cycles)"
)


class Jobs:
    """Leases and jobs of a gym; thread-safe, also between processes."""

    def __init__(self, file: GymFile) -> None:
        self._file = file

    # Leases

    def take(self, lease: str, owner: str, what: dict[str, Any], seconds: float) -> Holder | None:
        """Take a lease that is free, or renew one's own; return who else holds it, None when it is ours."""
        with self._file.writing():
            moment = monotonic()  # waiting for the file may have taken long
            held = self.holder(lease)
            if held and held.owner != owner:
                return held
            self._file.connection.execute(
                "INSERT INTO lease (name, owner, what, boot, taken_at, renewed, expires) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, what = excluded.what, boot = excluded.boot,"
                " taken_at = CASE owner WHEN excluded.owner THEN taken_at ELSE excluded.taken_at END,"
                " renewed = excluded.renewed, expires = excluded.expires",
                (lease, owner, json.dumps(what), boot(), now(), moment, moment + seconds),
            )
            return None

    def holder(self, lease: str) -> Holder | None:
        """Return who holds a lease; one that has expired, or is of an earlier start of the machine, is held by none."""
        moment = monotonic()
        row = self._file.row("SELECT * FROM lease WHERE name = ? AND boot = ? AND expires > ?", lease, boot(), moment)
        return Holder(row["owner"], json.loads(row["what"]), row["taken_at"], row["expires"] - moment) if row else None

    def release(self, lease: str, owner: str) -> None:
        """Give back a lease; one that somebody else holds by now stays."""
        with self._file.writing():
            self._file.connection.execute("DELETE FROM lease WHERE name = ? AND owner = ?", (lease, owner))

    # Jobs

    def find(self, name: str, profile: str) -> Job | None:
        """Return a job, or None if nobody has looked at it yet."""
        row = self._file.row("SELECT * FROM jobs WHERE name = ? AND profile = ?", name, profile)
        return _job(row) if row else None

    def seen(self, name: str, profile: str) -> Job:
        """Return a job, its interval told on this machine's present clock; at first sight the interval begins."""
        job = self.find(name, profile)
        if job and job.since_boot == boot():
            return job
        waited = job.waited if job else 0.0
        with self._file.writing():
            self._file.connection.execute(
                "INSERT INTO jobs (name, profile, mark, since_at, since_boot, since_monotonic)"
                " VALUES (?, ?, 0, ?, ?, ?)"
                " ON CONFLICT (name, profile) DO UPDATE SET since_at = excluded.since_at,"
                " since_boot = excluded.since_boot, since_monotonic = excluded.since_monotonic",
                (name, profile, moment_in(-waited), boot(), monotonic() - waited),
            )
        return self.find(name, profile) or self.seen(name, profile)

    def decisions(self, profile: str) -> int:
        """Count the decisions of a profile that were ever written."""
        return self._file.count("SELECT written FROM decision_counts WHERE profile = ?", profile)

    def begin(self, owner: str, job: Job, mark: int, run_id: str) -> str | None:
        """Begin a run, or go on with the one that has not ended; return its id.

        Args:
            owner: who must hold the scheduler's lease.
            job: as it was looked at; a run that was begun by hand meanwhile changes it.
            mark: how many decisions the run counts for.
            run_id: of a new run.

        Returns:
            None when somebody else holds the lease, or the job is not what it was.
        """
        with self._file.writing():
            held, known = self.holder(SCHEDULER), self.find(job.name, job.profile)
            if held is None or held.owner != owner or known is None:
                return None
            if (known.mark, known.run_id) != (job.mark, job.run_id):
                return None
            if known.run_id is None:
                self._set(job, run_id=run_id, mark=mark, started_at=now(), **_since_now())
            self._set(job, hindrance=None, next_at=None)
            return known.run_id or run_id

    def end(self, job: Job, run_id: str, status: str, reason: str | None) -> None:
        """Write what became of a run, unless that has been written."""
        with self._file.writing():
            known = self.find(job.name, job.profile)
            if known and known.run_id == run_id:
                self._set(job, run_id=None, ended_at=now(), status=status, reason=reason, hindrance=None, next_at=None)

    def hinder(self, job: Job, why: str | None, seconds: float | None = None) -> None:
        """Note why a job does not start, or its run does not end, now; `seconds`: when it is tried again."""
        known = self.find(job.name, job.profile)
        if known is None or (why == known.hindrance and seconds is None):
            return
        with self._file.writing():
            self._set(job, hindrance=why, next_at=None if seconds is None else moment_in(seconds))

    def begun_by_hand(self, profile: str, run_id: str) -> None:
        """Count all decisions of a profile for an optimisation that begins, unless the scheduler has begun it.

        A run that the scheduler wants and that has not come to anything yet is done with by that.
        """
        self.seen(OPTIMIZE, profile)
        with self._file.writing():
            self._file.connection.execute(
                "UPDATE jobs SET mark = (SELECT coalesce(max(written), 0) FROM decision_counts WHERE profile = ?1),"
                " run_id = (SELECT r.run_id FROM optimization_runs r WHERE r.run_id = jobs.run_id)"
                " WHERE name = ?2 AND profile = ?1 AND run_id IS NOT ?3",
                (profile, OPTIMIZE, run_id),
            )

    def newest_run(self, profile: str) -> dict[str, Any] | None:
        """Return the newest optimisation of a profile that has ended, whoever began it: started_at, status, reason."""
        row = self._file.row(
            "SELECT started_at, status, json_extract(report, '$.reason') AS reason FROM optimization_runs"
            " WHERE profile = ? AND ended_at IS NOT NULL ORDER BY started_at DESC LIMIT 1",
            profile,
        )
        return dict(row) if row else None

    # Runs, whoever began them

    def runs(self, limit: int, before: str | None = None) -> list[dict[str, Any]]:
        """Return optimisations and dream cycles, the newest first, older ones than the run `before`.

        Keys: kind (optimize, dream), run_id, profile, started_at, ended_at, status, reason, and made: how many modules
        got better, or how many dreams there are. One that has not ended runs, waits or was killed.
        """
        rows = self._file.rows(
            "SELECT kind, run_id, profile, started_at, ended_at, status, json_extract(report, '$.reason') AS reason,"
            " coalesce(json_extract(report, '$.optimized_count'), json_extract(report, '$.dreams')) AS made"
            f" FROM {_RUNS} WHERE ?1 IS NULL OR (started_at, run_id) < (SELECT started_at, run_id FROM {_RUNS}"
            " WHERE run_id = ?1) ORDER BY started_at DESC, run_id DESC LIMIT ?2",
            before, limit,
        )  # fmt: skip
        return [dict(row) for row in rows]

    def run(self, run_id: str) -> dict[str, Any] | None:
        """Return a run with the keys of `runs`, and its report."""
        row = self._file.row(f"SELECT * FROM {_RUNS} WHERE run_id = ?", run_id)
        if row is None:
            return None
        report = json.loads(row["report"])
        made = report.get("optimized_count", report.get("dreams"))
        return {**dict(row), "reason": report.get("reason"), "made": made, "report": report}

    def begun(self) -> list[Job]:
        """Return the jobs whose run the scheduler has begun and that has not ended, the newest first."""
        return [
            _job(row) for row in self._file.rows("SELECT * FROM jobs WHERE run_id NOT NULL ORDER BY started_at DESC")
        ]

    def _set(self, job: Job, **values: Any) -> None:
        self._file.connection.execute(
            f"UPDATE jobs SET {', '.join(f'{name} = :{name}' for name in values)}"
            " WHERE name = :job_name AND profile = :job_profile",
            {**values, "job_name": job.name, "job_profile": job.profile},
        )


def moment_in(seconds: float) -> str:
    """Return the time in so many seconds, UTC ISO 8601."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@cache
def boot() -> str:
    """Return what names this start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True).stdout.strip()


def _since_now() -> dict[str, Any]:
    return {"since_at": now(), "since_boot": boot(), "since_monotonic": monotonic()}


def _job(row: sqlite3.Row) -> Job:
    return Job(**{name: row[name] for name in _COLUMNS})
