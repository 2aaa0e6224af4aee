"""Load and check a profile: the labels a conversation can have."""

import re
import tomllib
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from understudy.intake import UnderstudyError

BUNDLED = Path(__file__).parent / "profiles"

CONFLICT_TYPES = {
    "frustration": "annoyed, angry or sarcastic",
    "confusion": "does not understand, or is misunderstood",
    "bargaining": "pushes for a lower price or something extra",
    "off_topic": "talks about something else",
    "cancellation": "threatens to leave or calls the matter off",
    "none": "nothing of the kind",
}
TONES = ("friendly", "professional", "empathetic", "firm")


class ProfileError(UnderstudyError):
    """A profile cannot be used; the message names file, key and what is allowed."""


def _label(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\- ]{0,59}", value):
        raise ValueError(f"label {value!r}: must be 1 to 60 letters, digits, '_', '-', '.' or spaces")
    return value


LabelName = Annotated[str, AfterValidator(_label)]
Meanings = Annotated[dict[LabelName, str], Field(min_length=1)]


class Intent(BaseModel):
    """What a customer can want, and which data an agent needs for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    required: tuple[LabelName, ...] = ()


class Profile(BaseModel):
    """The domain of a chat: its intents, next steps, goals, conflict types, tones and required data.

    Only `name` and `intents` must be given. Without `goals` the goals are free text, and so is the next step without
    `next_steps`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]
    title: str = ""
    intents: Annotated[dict[LabelName, Intent], Field(min_length=1)]
    next_steps: dict[LabelName, str] = {}
    goals: dict[LabelName, str] = {}
    data: dict[LabelName, str] = Field(default_factory=lambda given: _required(given.get("intents", {})))
    conflict_types: Meanings = CONFLICT_TYPES
    tones: Annotated[tuple[LabelName, ...], Field(min_length=1)] = TONES
    ready_at: Annotated[float, Field(gt=0, le=1)] = 0.8

    @model_validator(mode="after")
    def _data_is_complete(self) -> Self:
        for label, intent in self.intents.items():
            for name in intent.required:
                if name not in self.data:
                    raise ValueError(
                        f"intents.{label}.required: {name!r} is not in [data]; there are {_names(self.data)}"
                    )
        return self

    def __hash__(self) -> int:
        return hash(self.name)

    @cached_property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The closed label sets by output field; a field that is not here is free text or a number."""
        sets = {
            "conflict_type": tuple(self.conflict_types),
            "intent": tuple(self.intents),
            "next_step": tuple(self.next_steps),
            "main_goal": tuple(self.goals),
            "sub_goals": tuple(self.goals),
            "required_info": tuple(self.data),
            "tone": self.tones,
        }
        return {name: labels for name, labels in sets.items() if labels}

    def data_name(self, name: str) -> str:
        """Return a datum's name without its intent: `plane_book.Date` is the `Date` of that intent."""
        intent, _, bare = name.partition(".")
        return bare if intent in self.intents and name not in self.data else name


def load_profile(name: str) -> Profile:
    """Return the bundled profile of that name, or the one in a TOML file when `name` is a path.

    Raises:
        ProfileError: no such profile, or it is broken.
    """
    if re.fullmatch(r"[a-z0-9_]{1,40}", name):
        return _read(BUNDLED / f"{name}.toml", name)
    path = Path(name)
    if path.suffix != ".toml":
        raise ProfileError(f"no profile {name[:60]!r}; there are {_names(bundled())}, or give the path of a .toml file")
    return _read(path.absolute(), None)


def registered_profile(name: str, own: str) -> Profile:
    """Return the profile that a conversation names for itself: the one that BRAIN_PROFILE loads, or a bundled one.

    A name that comes with data is never a path. BRAIN_PROFILE's goes first, as a copy may have kept the bundled name.

    Raises:
        ProfileError: it is none of these.
    """
    if re.fullmatch(r"[a-z0-9_]{1,40}", str(name)):
        mine = load_profile(own)
        if mine.name == name:
            return mine
        if name in bundled():
            return load_profile(name)
    raise ProfileError(f"no profile {str(name)[:60]!r}; there are {_names(bundled())}, and the one BRAIN_PROFILE names")


@cache
def bundled() -> tuple[str, ...]:
    """Name the profiles that come with the package."""
    return tuple(sorted(path.stem for path in BUNDLED.glob("*.toml")))


@cache
def _read(path: Path, name: str | None) -> Profile:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = f"; there are {_names(bundled())}, or give the path of a .toml file"
        raise ProfileError(f"no profile {name or str(path)!r}{known}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ProfileError(f"{path}: not readable as TOML: {error}") from None
    try:
        return Profile.model_validate(table)
    except ValidationError as error:
        wrong = [e for e in error.errors() if e["type"] != "default_factory_not_called"]
        raise ProfileError("\n".join(f"{path}: {_line(e)}" for e in wrong[:5])) from None


def _line(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"] if part != "[key]")
    message = re.sub(r"^\w+ should ", "must ", error["msg"].removeprefix("Value error, "))
    for words, plain in {
        "a valid tuple": "a list",
        "a valid dictionary": "a table",
        "Field required": "must be given",
    }.items():
        message = message.replace(words, plain)
    if error["type"] == "extra_forbidden":
        message = f"unknown key; a profile has {_names(Profile.model_fields)}, an intent {_names(Intent.model_fields)}"
    return " ".join(f"{where}: {message}".split()) if where else message


def _required(intents: dict[str, Intent]) -> dict[str, str]:
    return {name: "" for intent in intents.values() for name in intent.required}


def _names(names: Any) -> str:
    return ", ".join(list(names)[:30])
