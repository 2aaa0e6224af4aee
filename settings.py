"""Read the environment and `.env`: the one place that does."""

import ipaddress
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from understudy.intake import UnderstudyError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Hosts = Annotated[tuple[str, ...], NoDecode]


MAKE_TOKEN = 'python -c "import secrets; print(secrets.token_urlsafe())"'


class SettingsError(UnderstudyError):
    """A setting is wrong; the message names variable, value and what is allowed."""


class Settings(BaseSettings):
    """Everything that can be set, under the variable's name in lower case.

    Values come from the environment, then from `.env` in the working directory, then from the defaults below.

    Raises:
        SettingsError: a value is not allowed; one line a variable.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", frozen=True
    )

    lm_provider: Literal["embedded", "ollama"] = "embedded"
    ollama_base_url: str = "http://localhost:11434"
    ollama_model: str = "gemma3:4b"
    ollama_teacher_model: str = "qwen3:8b"
    ollama_teacher_reasoning: bool = False
    ollama_num_ctx: Annotated[int, Field(ge=2048)] = 8192
    ollama_num_parallel: Count = 4
    ollama_keep_alive: str = "30m"
    ollama_timeout: Positive = 60
    """Seconds one try of an answer may take; all tries together may take twice that."""

    brain_enabled: bool = True
    brain_mode: Literal["shadow"] = "shadow"
    brain_profile: Annotated[str, Field(min_length=1)] = "default"
    """A bundled profile's name, or the path of a TOML file."""
    brain_history_messages: Count = 40
    brain_conversation_idle_hours: Positive = 24
    brain_when_down: Literal["wait", "fault"] = "wait"
    brain_strict: bool = False
    brain_tracing: bool = False
    brain_allow_remote_model: bool = False
    brain_api_token: SecretStr | None = None
    brain_allowed_hosts: Hosts = ("localhost", "127.0.0.1")
    observe_share: Share = 1.0
    inbox_max: Count = 100_000

    dream_enabled: bool = True
    dream_ollama_model: str = "llama3.2"
    dream_interval_hours: Positive = 6
    dream_min_conversations: Count = 50
    dream_hallucination_ratio: Share = 0.2
    dream_count: Count = 100

    rl_gym_enabled: bool = True
    rl_gym_db_path: Path = Path("brain_gym.db")
    rl_gym_optimize_interval: Count = 100
    rl_gym_retention_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """0 keeps everything."""
    use_optimized_modules: bool = True
    optimized_modules_dir: Path = Path("optimized_modules")
    gepa_breadth: Count = 10
    gepa_depth: Count = 3
    gepa_seed: Annotated[int, Field(ge=0)] = 0
    gepa_max_minutes: Positive = 120
    gate_min_effect: Annotated[float, Field(ge=0, lt=1)] = 0.0
    publish_approval: Literal["auto", "manual"] = "auto"
    ab_share: Share = 1.0
    ab_alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    ab_margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    ab_max_conversations: Count = 2000
    personalize_enabled: bool = True
    scheduler_enabled: bool = True
    lease_seconds: Positive = 60

    def __init__(self, **values: Any) -> None:
        if Path(".env").is_dir():
            raise SettingsError(".env: must be a file of lines NAME=value; it is a folder")
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError("\n".join(_line(e) for e in error.errors())) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f".env: must be a readable file of lines NAME=value in UTF-8: {error}") from None

    def shown(self) -> dict[str, Any]:
        """Return every setting as it may be shown: secrets and what stands before the host of a URL are masked."""
        found = {name: "***" if isinstance(value, SecretStr) else value for name, value in self}
        parts = urlsplit(self.ollama_base_url)
        if "@" in parts.netloc:
            found["ollama_base_url"] = parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}").geturl()
        return {name: str(value) if isinstance(value, Path) else value for name, value in found.items()}

    @field_validator("brain_allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        return tuple(h.strip() for h in value.split(",") if h.strip()) if isinstance(value, str) else value

    @field_validator("brain_allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(re.fullmatch(r"[\w.\-:\[\]]+|\*", host) for host in value):
            raise ValueError("must be names of hosts with commas between them")
        return value

    @field_validator("brain_api_token")
    @classmethod
    def _check_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]{16,500}", value.get_secret_value()):
            raise ValueError(f"must be 16 to 500 characters of ASCII without blanks; {MAKE_TOKEN} makes a good one")
        return value

    @field_validator("ollama_keep_alive")
    @classmethod
    def _check_duration(cls, value: str) -> str:
        if not re.fullmatch(r"-?\d+(\.\d+)?(ns|us|ms|s|m|h)?", value):
            raise ValueError("must be a time such as 30m, 90s or -1 (for ever)")
        return value

    @field_validator("ollama_base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            usable = usable and not parts.query and not parts.fragment and " " not in value
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("must be a URL such as http://localhost:11434")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _keep_texts_local(self) -> Self:
        host = urlsplit(self.ollama_base_url).hostname or ""
        if self.lm_provider == "ollama" and not self.brain_allow_remote_model and not is_local(host):
            raise ValueError(
                f"OLLAMA_BASE_URL names {host}, which is not this machine, and customers' texts would go there;"
                " set BRAIN_ALLOW_REMOTE_MODEL=true if that is wanted"
            )
        return self


@cache
def current_settings() -> Settings:
    """Read the settings of this process once."""
    return Settings()


def is_local(host: str) -> bool:
    """Tell whether a name or an address is this machine's own, whatever a name server says."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _line(error: Any) -> str:
    """Say in one line which variable is wrong, what it holds and what is allowed."""
    message = re.sub(r"^\w+ should ", "must ", str(error["msg"]).removeprefix("Value error, "))
    message = message.partition(", unable")[0].replace("a valid boolean", "true or false")
    if not error["loc"]:
        return message
    name = str(error["loc"][0]).upper()
    field = Settings.model_fields.get(str(error["loc"][0]))
    secret = name == "BRAIN_API_TOKEN" or "@" in str(error["input"])
    shown = "***" if secret else repr(error["input"])[:200]
    default = f" (default {field.default})" if field is not None and field.default is not None else ""
    return f"{name}={shown}: {message}{default}"
