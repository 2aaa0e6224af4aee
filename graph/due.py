"""When jobs are due, and how that is told; what starts them is in schedule.py."""

from dataclasses import dataclass
from typing import Any

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.jobs import DREAM, OPTIMIZE, RETENTION, SCHEDULER, Job, moment_in
from understudy.graph.child import is_at_work
from understudy.settings import Settings

JOBS = (OPTIMIZE, DREAM, RETENTION)

DAY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Due:
    """How far a job is from its next run: in decisions, or in seconds; and what its mark will be then."""

    mark: int
    decisions: int | None = None
    seconds: float | None = None

    @property
    def now(self) -> bool:
        """Whether it is due."""
        return (self.decisions if self.decisions is not None else self.seconds or 0) <= 0


def due(gym: Gym, settings: Settings, job: Job) -> Due:
    """Say when the next run of a job is due. A run that has begun is due until it has ended.

    The mark of an optimisation goes on in whole intervals: decisions that came before the look count for the next run.
    """
    if job.name != OPTIMIZE:
        interval = settings.dream_interval_hours * 3600 if job.name == DREAM else DAY_SECONDS
        never = job.name == RETENTION and job.started_at is None  # what is too old already is not to wait for a day
        return Due(0, seconds=0.0 if job.run_id or never else max(0.0, interval - job.waited))
    every = settings.rl_gym_optimize_interval
    come = gym.jobs.decisions(job.profile) - job.mark
    return Due(job.mark + come // every * every, decisions=0 if job.run_id else max(0, every - come))


def obstacle(settings: Settings, name: str) -> str | None:
    """Say which setting keeps a job from starting."""
    if not settings.scheduler_enabled:
        return "SCHEDULER_ENABLED=false"
    if name == RETENTION and not settings.rl_gym_retention_days:
        return "RL_GYM_RETENTION_DAYS=0: everything is kept"
    return "DREAM_ENABLED=false" if name == DREAM and not settings.dream_enabled else None


def outlook(gym: Gym, settings: Settings, profile: str, *, starting: bool = False) -> list[dict[str, Any]]:
    """Return what `understudy status` says of the jobs; `starting`: the asker is about to run them.

    Returns:
        For each its `name`, `next_run` (UTC ISO 8601 or None), `decisions_missing` (optimize), `last_run`,
        `last_status` (of a run that has not ended: running, or interrupted where its process is gone), `reason` (what
        hinders it, else why the last run came out so), and the `owner`: the process that would start it.
    """
    held = gym.jobs.holder(SCHEDULER)
    owner = held.what if held else None
    runs = starting or held is not None
    nobody = None if runs else "no process starts it: understudy serve, or langgraph dev, would"
    found = []
    for name in JOBS:
        job = gym.jobs.find(name, profile)
        last = _last(gym, name, profile, job)
        hindrance = obstacle(settings, name) or (job and job.hindrance) or nobody
        told: dict[str, Any] = {"name": name, "next_run": None}
        if name == OPTIMIZE:
            come = gym.jobs.decisions(profile) - (job.mark if job else 0)
            told["decisions_missing"] = max(0, settings.rl_gym_optimize_interval - come)
        if job and obstacle(settings, name) is None and runs and last["last_status"] != "running":
            seconds = due(gym, settings, job).seconds  # that a number of decisions comes is no matter of time
            told["next_run"] = job.next_at or (None if seconds is None else moment_in(seconds))
        found.append({**told, **last, "reason": hindrance or last["reason"], "owner": owner})
    return found


def in_words(one: dict[str, Any]) -> str:
    """Say of a job what `outlook` does, in a line."""
    missing, next_run, last_run = one.get("decisions_missing"), one["next_run"], one["last_run"]
    waits = {None: "no next run", 0: "due now"}.get(missing, f"after {missing} more decisions")
    said = f"next run {next_run}" if next_run else waits
    if one["last_status"] == "running":
        said = f"running since {last_run}"
    else:
        said += f"; last run {last_run}: {one['last_status']}" if last_run else "; has not run yet"
    return said + (f" ({one['reason']})" if one["reason"] else "")


def _last(gym: Gym, name: str, profile: str, job: Job | None) -> dict[str, Any]:
    """Say how the newest run went; an optimisation may have been begun by hand."""
    run = {"started_at": job.started_at, "status": job.status, "reason": job.reason} if job else {}
    by_hand = gym.jobs.newest_run(profile) if name == OPTIMIZE else None
    if by_hand and by_hand["started_at"] >= (run.get("started_at") or ""):
        run = by_hand
    elif job and job.run_id:
        goes_on = "it goes on with the next run, or when it is begun by hand"
        run = {**run, "status": "interrupted", "reason": goes_on}
        if is_at_work(gym.path):
            run = {**run, "status": "running", "reason": None}
    return {"last_run": run.get("started_at"), "last_status": run.get("status"), "reason": run.get("reason")}
