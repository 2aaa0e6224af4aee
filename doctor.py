"""Is everything there? Each check says what to do when something is not."""

import re
import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dspy

from understudy.checkpoints.file import LOCAL_DISK, is_current, on_read_only_disk
from understudy.intake import UnderstudyError
from understudy.lm.adapter import AnswerAdapter
from understudy.lm.roles import Role, get_lm, talkers
from understudy.lm.stock import checks as server_checks
from understudy.nodes.modules import MODULES
from understudy.profile import load_profile
from understudy.repair import Mended, gym_is_sound, others_cannot_read, programs_load, rows_belong, tests_can_go_on
from understudy.settings import Settings

MIN_FREE_MB = 200

MOUNTS = Path("/proc/mounts")

REMOTE = (
    "nfs nfs4 cifs smb3 smbfs 9p afs ceph lustre glusterfs beegfs gpfs ocfs2 gfs2 ncpfs fuse.sshfs fuse.glusterfs"
    " fuse.ceph fuse.ceph-fuse fuse.s3fs fuse.rclone fuse.davfs davfs fuse.gcsfuse fuse.juicefs"
).split()
"""File systems of other machines, or shared with them."""


def doctor(mended: Mended = None) -> list[dict[str, Any]]:
    """Return the checks: name, ok, detail.

    Given a list, what can be mended is mended first, and a line for each thing that was done is added to the list.
    """
    checks: list[dict[str, Any]] = []

    def check(name: str, look: Callable[[], str]) -> bool:
        try:
            checks.append({"name": name, "ok": True, "detail": look()})
        except (UnderstudyError, dspy.LMError) as error:
            checks.append({"name": name, "ok": False, "detail": str(error).replace("\n", "; ")})
        return bool(checks[-1]["ok"])

    if not check("settings", lambda: f"LM_PROVIDER={Settings().lm_provider}, BRAIN_MODE={Settings().brain_mode}"):
        return checks
    settings = Settings()
    check("profile", lambda: _profile(settings))
    is_sound = check("gym", lambda: gym_is_sound(settings, mended))
    check("programs", lambda: programs_load(settings, mended))
    if is_sound and settings.rl_gym_enabled and _can_be_read(settings.rl_gym_db_path, mended):
        check("rows", lambda: rows_belong(settings, mended))
        check("A/B tests", lambda: tests_can_go_on(settings, mended))
    check("modes", lambda: others_cannot_read(settings, mended))
    check("disk", lambda: _room(settings))
    for name, look in server_checks(settings):
        if not check(name, look):
            break
    else:
        for role in talkers(settings):
            check(role, partial(_answers, role, settings))
    check("server", _server)
    return checks


def _can_be_read(gym: Path, mended: Mended) -> bool:
    """Say whether the gym's rows can be looked at; to open an older one would change it, which is for a repair."""
    return gym.exists() and (mended is not None or is_current(gym))


def _profile(settings: Settings) -> str:
    profile = load_profile(settings.brain_profile)
    return f"{profile.name}: {len(profile.intents)} intents, {len(profile.next_steps)} next steps"


def _room(settings: Settings) -> str:
    gym = settings.rl_gym_db_path.absolute()
    folder = next(folder for folder in gym.parents if folder.is_dir())
    if (kind := _file_system(folder)) in REMOTE:
        raise UnderstudyError(f"{settings.rl_gym_db_path} is on a network file system ({kind}); {LOCAL_DISK}")
    if on_read_only_disk(folder):
        raise UnderstudyError(f"{settings.rl_gym_db_path} is on a read-only disk; there the gym can only be read")
    free = shutil.disk_usage(folder).free // 1_000_000
    if free < MIN_FREE_MB:
        raise UnderstudyError(f"{free} MB free beside {settings.rl_gym_db_path}; make room for {MIN_FREE_MB} MB")
    return f"{free:,} MB free"


def _file_system(folder: Path) -> str | None:
    """Return the kind of file system that a folder is on, where the machine tells."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    here, depth, found = folder.resolve(), 0, None
    for line in lines:
        _, place, kind, *_ = line.split(" ")
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place))
        if len(mounted.parts) >= depth and (here == mounted or mounted in here.parents):
            depth, found = len(mounted.parts), kind  # of two at one place the later one is seen
    return found


def _answers(role: Role, settings: Settings) -> str:
    """Let a role answer one turn of a conversation in the form of the conflict monitor."""
    lm, adapter = get_lm(role, settings), AnswerAdapter()
    program = MODULES["conflict"].program(load_profile(settings.brain_profile))
    with dspy.context(lm=lm, adapter=adapter, disable_history=True, trace=None):
        answer = program(history=[], message="Can you take my van on Friday?")
    spent = adapter.spent
    seconds = sum(spent.get(name, 0) for name in ("load_ms", "prompt_ms", "generate_ms")) / 1000
    speed = f", {spent['tokens_out'] / spent['generate_ms'] * 1000:.0f} tokens/s" if spent.get("generate_ms") else ""
    pace = f" in {seconds:.1f} s{speed}" if seconds else ""
    needed = f"; it needed {', '.join(spent['repairs'])}" if "repairs" in spent else ""
    return f"{lm.model} answered in the form that was asked for{pace} (conflict_type {answer.conflict_type}){needed}"


def _server() -> str:
    if find_spec("langgraph_api") is None:
        return "langgraph dev is not installed; for Studio: pip install 'understudy[server]'"
    if find_spec("nicegui") is None:
        return "langgraph dev is installed; for its dashboard: pip install 'understudy[dashboard]'"
    return "langgraph dev is installed, and its dashboard"
