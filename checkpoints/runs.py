"""What the gym holds of optimisations; and every SQL statement on them."""

import json
from collections.abc import Mapping
from typing import Any

from understudy.checkpoints.file import GymFile
from understudy.checkpoints.rows import dump


class Runs:
    """The optimisations of a gym; thread-safe."""

    def __init__(self, file: GymFile) -> None:
        self._file = file

    def save(self, report: Mapping[str, Any]) -> None:
        """Write what is known of an optimisation: its columns, and all of it as JSON."""
        columns = ("run_id", "profile", "started_at", "ended_at", "status", "decisions_processed")
        with self._file.writing():
            self._file.connection.execute(
                f"INSERT OR REPLACE INTO optimization_runs ({', '.join(columns)}, report) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*(report.get(name) for name in columns), dump(report)),
            )

    def find(self, run_id: str | None = None) -> dict[str, Any] | None:
        """Return what is known of an optimisation, of the newest one for None."""
        row = self._file.row(
            "SELECT report FROM optimization_runs WHERE run_id = coalesce(?, (SELECT run_id FROM optimization_runs"
            " WHERE ended_at IS NOT NULL ORDER BY started_at DESC LIMIT 1))",
            run_id,
        )
        return dict(json.loads(row["report"])) if row else None

    def unfinished(self, profile: str) -> str | None:
        """Return the newest optimisation of a profile if it has not ended."""
        row = self._file.row(
            "SELECT run_id, ended_at FROM optimization_runs WHERE profile = ? ORDER BY started_at DESC LIMIT 1", profile
        )
        return row["run_id"] if row and row["ended_at"] is None else None

    def times_gated(self, profile: str, module: str, but: str) -> int:
        """Count how often a module was judged by a profile's sealed conversations, in other runs than one."""
        return self._file.count(
            "SELECT count(*) FROM optimization_runs WHERE profile = ? AND run_id <> ?"
            " AND json_extract(report, '$.module_results.' || ? || '.level') IS NOT NULL",
            profile, but, module,
        )  # fmt: skip

    def last(self) -> str | None:
        """Return when the newest optimisation that has ended began."""
        row = self._file.row("SELECT max(started_at) FROM optimization_runs WHERE ended_at IS NOT NULL")
        return row[0] if row else None
