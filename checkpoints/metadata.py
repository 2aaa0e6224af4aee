"""What is known of a saved version, and JSON that carries its own checksum."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from understudy.intake import MAX_DEPTH

Status = Literal["published", "candidate", "rejected", "rolled_back"]
Scores = Annotated[float, Field(allow_inf_nan=False)]

SEAL = "metadata_checksum"


class _Open(BaseModel):
    """Known keys are checked, others are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


class GepaConfig(_Open):
    """How GEPA searched."""

    breadth: int | None = None
    depth: int | None = None
    calls: int | None = None
    seed: int | None = None


class Metrics(_Open):
    """How a version scored, 0..1; `interval` is the one of the improvement, lower end first."""

    train_score: Scores | None = None
    val_score: Scores | None = None
    test_score: Scores | None = None
    baseline_score: Scores | None = None
    improvement: Scores | None = None
    interval: tuple[Scores, Scores] | None = None


class Sizes(_Open):
    """How many examples there were."""

    train: int | None = None
    val: int | None = None
    test: int | None = None


class Times(_Open):
    """When the search began (ISO) and how long it took."""

    started: str | None = None
    seconds: Scores | None = None


class VersionMetadata(_Open):
    """What is known of a version. Saving fills in the first group; the rest is as the caller gave it."""

    version: str = ""
    module: str = ""
    profile: str = ""
    created_at: str = ""
    status: Status = "published"
    signature_hash: str = ""
    """The same for two programs whose fields have the same names, types and labels."""
    instruction_hash: str = ""
    checksum: str = ""
    """SHA-256 of the program's file."""

    gepa_config: GepaConfig | None = None
    metrics: Metrics | None = None
    data_hash: str | None = None
    sizes: Sizes | None = None
    student: str | None = None
    teacher: str | None = None
    engine: str | None = None
    times: Times | None = None
    parent: str | None = None
    metric_version: int | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values, without what nobody has set."""
        return self.model_dump(mode="json", exclude_unset=True)


def side_by_side(one: VersionMetadata, two: VersionMetadata) -> dict[str, dict[str, Any]]:
    """Return the metrics of two versions by name; scores by different versions of a metric have no difference."""
    a, b = (each.plain().get("metrics") or {} for each in (one, two))
    is_comparable = one.metric_version == two.metric_version
    return {
        name: {"a": a.get(name), "b": b.get(name), "difference": _difference(a.get(name), b.get(name), is_comparable)}
        for name in {**a, **b}
    }


def _difference(a: Any, b: Any, is_comparable: bool) -> float | None:
    is_number = isinstance(a, int | float) and isinstance(b, int | float)
    return round(b - a, 6) if is_comparable and is_number else None


def check_plain(value: Any, where: str, levels: int = MAX_DEPTH) -> None:
    """Make sure that a value is JSON as it stands.

    Raises:
        ValueError: it is not; the message says where.
    """
    if not levels:
        raise ValueError(f"{where[:200]}: JSON inside JSON, more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or _problem(key):
                raise ValueError(f"{where}: the key {key!r} is no text")
            check_plain(item, f"{where}.{key}", levels - 1)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            check_plain(item, f"{where}[{number}]", levels - 1)
    elif problem := _problem(value):
        raise ValueError(f"{where}: {problem}")


def _problem(value: Any) -> str | None:
    """Say why a single value is no JSON that every reader takes."""
    if isinstance(value, str):
        return "half a character (a lone surrogate)" if re.search("[\ud800-\udfff]", value) else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is no JSON number"
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**63 else "a whole number beyond 64 bits"
    return None if value is None else f"a {type(value).__name__} is no JSON value"


def digest(text: str | bytes) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def sealed(values: Mapping[str, Any]) -> str:
    """Return JSON values as text with a checksum of their own."""
    bare = {name: value for name, value in values.items() if name != SEAL}
    return json.dumps({**bare, SEAL: _seal(bare)}, ensure_ascii=False, indent=1)


def unsealed(text: bytes) -> dict[str, Any]:
    """Return what `sealed` wrote. Text without a checksum is taken as it is: somebody has edited it by hand.

    Raises:
        ValueError: it is damaged.
    """
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("JSON inside JSON without end") from None
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    seal = values.pop(SEAL, None)
    if seal is not None and seal != _seal(values):
        raise ValueError(f"{SEAL} does not match")
    return values


def _seal(values: Mapping[str, Any]) -> str:
    return digest(json.dumps(values, ensure_ascii=False, sort_keys=True))
