"""The settings: every variable with its default, and one line for each wrong value."""

from pathlib import Path
from typing import Any

import pytest

from understudy.settings import Settings, SettingsError, current_settings

DEFAULTS: dict[str, Any] = {
    "LM_PROVIDER": "embedded",
    "OLLAMA_BASE_URL": "http://localhost:11434",
    "OLLAMA_MODEL": "gemma3:4b",
    "OLLAMA_TEACHER_MODEL": "qwen3:8b",
    "OLLAMA_TEACHER_REASONING": False,
    "OLLAMA_NUM_CTX": 8192,
    "OLLAMA_NUM_PARALLEL": 4,
    "OLLAMA_KEEP_ALIVE": "30m",
    "OLLAMA_TIMEOUT": 60,
    "BRAIN_ENABLED": True,
    "BRAIN_MODE": "shadow",
    "BRAIN_PROFILE": "default",
    "BRAIN_HISTORY_MESSAGES": 40,
    "BRAIN_CONVERSATION_IDLE_HOURS": 24,
    "BRAIN_WHEN_DOWN": "wait",
    "BRAIN_STRICT": False,
    "BRAIN_TRACING": False,
    "BRAIN_ALLOW_REMOTE_MODEL": False,
    "BRAIN_API_TOKEN": None,
    "BRAIN_ALLOWED_HOSTS": ("localhost", "127.0.0.1"),
    "OBSERVE_SHARE": 1.0,
    "INBOX_MAX": 100_000,
    "DREAM_ENABLED": True,
    "DREAM_OLLAMA_MODEL": "llama3.2",
    "DREAM_INTERVAL_HOURS": 6,
    "DREAM_MIN_CONVERSATIONS": 50,
    "DREAM_HALLUCINATION_RATIO": 0.2,
    "DREAM_COUNT": 100,
    "RL_GYM_ENABLED": True,
    "RL_GYM_DB_PATH": Path("brain_gym.db"),
    "RL_GYM_OPTIMIZE_INTERVAL": 100,
    "RL_GYM_RETENTION_DAYS": 0,
    "USE_OPTIMIZED_MODULES": True,
    "OPTIMIZED_MODULES_DIR": Path("optimized_modules"),
    "GEPA_BREADTH": 10,
    "GEPA_DEPTH": 3,
    "GEPA_SEED": 0,
    "GEPA_MAX_MINUTES": 120,
    "GATE_MIN_EFFECT": 0.0,
    "PUBLISH_APPROVAL": "auto",
    "AB_SHARE": 1.0,
    "AB_ALPHA": 0.05,
    "AB_MARGIN": 0.02,
    "AB_MAX_CONVERSATIONS": 2000,
    "PERSONALIZE_ENABLED": True,
    "SCHEDULER_ENABLED": True,
    "LEASE_SECONDS": 60,
}
TOKEN = "s3cret-token-of-the-team"


def names(kind: type) -> list[str]:
    return [name for name, value in DEFAULTS.items() if type(value) is kind]


def error_lines() -> list[str]:
    with pytest.raises(SettingsError) as error:
        Settings()
    assert error.value.__cause__ is None
    return str(error.value).split("\n")


def test_every_variable_of_the_design_exists_with_its_default() -> None:
    assert {name.upper(): value for name, value in Settings().model_dump().items()} == DEFAULTS


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_empty_variable_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    assert getattr(Settings(), name.lower()) == DEFAULTS[name]


NO_COUNT = ["0", "-1", "4.5", "many", "nan", "1e3", "0x10", str(10**30)]
NO_AMOUNT = ["0", "-1", "nan", "inf", "soon", "1,5", "60s"]
NO_SHARE = ["-0.1", "1.1", "nan", "inf", "50%", "half"]
SHARES = ("OBSERVE_SHARE", "DREAM_HALLUCINATION_RATIO", "AB_SHARE")
HOURS = (
    "OLLAMA_TIMEOUT",
    "BRAIN_CONVERSATION_IDLE_HOURS",
    "DREAM_INTERVAL_HOURS",
    "GEPA_MAX_MINUTES",
    "LEASE_SECONDS",
)
COUNTS = (
    "OLLAMA_NUM_PARALLEL",
    "BRAIN_HISTORY_MESSAGES",
    "INBOX_MAX",
    "DREAM_MIN_CONVERSATIONS",
    "DREAM_COUNT",
    "RL_GYM_OPTIMIZE_INTERVAL",
    "GEPA_BREADTH",
    "GEPA_DEPTH",
    "AB_MAX_CONVERSATIONS",
)
WRONG = [
    *((name, value, "true or false") for name in names(bool) for value in ("maybe", "2", "wahr")),
    *((name, value, "must be ") for name in COUNTS for value in NO_COUNT),
    *((name, value, "must be ") for name in HOURS for value in NO_AMOUNT),
    *((name, value, "must be ") for name in SHARES for value in NO_SHARE),
    *((name, "0", "greater than or equal to 1") for name in COUNTS),
    *((name, "0", "greater than 0") for name in HOURS),
    *((name, "2", "less than or equal to 1") for name in SHARES),
    ("OLLAMA_NUM_CTX", "100", "2048"),
    ("OLLAMA_NUM_CTX", "8k", "integer"),
    ("RL_GYM_RETENTION_DAYS", "-1", "greater than or equal to 0"),
    ("RL_GYM_RETENTION_DAYS", "week", "integer"),
    ("GEPA_SEED", "-1", "greater than or equal to 0"),
    ("GEPA_SEED", "random", "integer"),
    ("GATE_MIN_EFFECT", "-0.1", "greater than or equal to 0"),
    ("GATE_MIN_EFFECT", "1", "less than 1"),
    ("AB_ALPHA", "0", "greater than 0"),
    ("AB_ALPHA", "0.6", "less than or equal to 0.5"),
    ("AB_ALPHA", "nan", "must be "),
    ("AB_MARGIN", "0", "greater than 0"),
    ("AB_MARGIN", "1", "less than 1"),
    ("LM_PROVIDER", "openai", "'embedded' or 'ollama'"),
    ("LM_PROVIDER", "Ollama", "'embedded' or 'ollama'"),
    ("BRAIN_MODE", "live", "'shadow'"),
    ("BRAIN_WHEN_DOWN", "panic", "'wait' or 'fault'"),
    ("PUBLISH_APPROVAL", "AUTO", "'auto' or 'manual'"),
    *(
        ("OLLAMA_BASE_URL", value, "a URL such as http://localhost:11434")
        for value in (
            "localhost:11434",
            "ftp://localhost",
            "http://",
            "http://[",
            "http://a:99999",
            "http://a b",
            "x\ny",
        )
    ),
    *(("OLLAMA_KEEP_ALIVE", value, "a time such as 30m") for value in ("forever", "30 m", "m", "1d", "--1", "30m\n")),
    *(("BRAIN_ALLOWED_HOSTS", value, "names of hosts") for value in (",", "http://a", "a b", "a,b/c", "a;b")),
]


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG)
def test_a_wrong_value_gives_one_line_with_variable_value_and_what_is_allowed(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    (line,) = error_lines()
    assert line.startswith(f"{name}={value!r}: ")
    assert allowed in line.partition(": ")[2]
    assert f"(default {DEFAULTS[name]})" in line


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("BRAIN_STRICT", "yes", True),
        ("BRAIN_ENABLED", "0", False),
        ("OLLAMA_TIMEOUT", "0.5", 0.5),
        ("OBSERVE_SHARE", "0", 0.0),
        ("AB_ALPHA", "0.5", 0.5),
        ("RL_GYM_DB_PATH", "/data/über/gym.db", Path("/data/über/gym.db")),
        ("OLLAMA_BASE_URL", "https://127.0.0.1:443/", "https://127.0.0.1:443"),
        ("OLLAMA_KEEP_ALIVE", "-1", "-1"),
        ("OLLAMA_KEEP_ALIVE", "1.5h", "1.5h"),
        ("BRAIN_ALLOWED_HOSTS", " shop.example , [::1]:8123,", ("shop.example", "[::1]:8123")),
        ("BRAIN_ALLOWED_HOSTS", "*", ("*",)),
        ("brain_profile", "star", "star"),
    ],
)
def test_a_good_value_is_taken(name: str, value: Any, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(Settings(), name.lower()) == read


def test_several_wrong_values_give_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"AB_ALPHA": "7", "BRAIN_MODE": "live", "INBOX_MAX": "lots", "LM_PROVIDER": "x\ny", "DREAM_ENABLED": "hm"}
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    assert sorted(line.partition("=")[0] for line in error_lines()) == sorted(wrong)


def test_a_very_long_wrong_value_gives_a_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEPA_DEPTH", "9" * 5000)
    (line,) = error_lines()
    assert len(line) < 400


# What is secret, and what stays on this machine


@pytest.mark.parametrize(
    "wrong", [{"AB_ALPHA": "7"}, {"LM_PROVIDER": "ollama", "OLLAMA_BASE_URL": "http://far.example"}]
)
def test_the_token_is_in_no_error(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BRAIN_API_TOKEN": TOKEN, **wrong}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        Settings()
    assert TOKEN not in f"{error.value!s}{error.value!r}{error.value.__context__}"


@pytest.mark.parametrize("value", [[TOKEN], {"token": TOKEN}, TOKEN.encode() + b"\xff", 5])
def test_a_token_of_the_wrong_kind_is_refused_without_being_shown(value: Any) -> None:
    with pytest.raises(SettingsError, match=r"^BRAIN_API_TOKEN=\*\*\*: ") as error:
        Settings(brain_api_token=value)
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize(
    "weak", ["x" * 15, "x" * 501, "sixteen letters and blanks", "sixteen-l\u00e9tters", "x" * 16 + "\n"]
)
def test_a_weak_token_is_refused_with_a_way_to_a_good_one(weak: str) -> None:
    with pytest.raises(SettingsError, match=r"^BRAIN_API_TOKEN=\*\*\*: must be 16 .*secrets\.token_urlsafe") as error:
        Settings(brain_api_token=weak)
    assert "\n" not in str(error.value) and weak not in str(error.value)


def test_the_token_is_in_no_picture_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAIN_API_TOKEN", TOKEN)
    settings = Settings()
    assert settings.brain_api_token is not None
    assert settings.brain_api_token.get_secret_value() == TOKEN
    assert TOKEN not in f"{settings!r}{settings!s}{settings.model_dump()}{settings.model_dump_json()}"


@pytest.mark.parametrize(
    "url",
    ["http://gpu.example.com:11434", "http://192.168.1.9:11434", "http://localhost@far.example", "http://0.0.0.0"],
)
def test_a_remote_model_must_be_allowed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_BASE_URL", url)
    assert Settings().ollama_base_url == url  # nothing goes there while the provider is embedded
    monkeypatch.setenv("LM_PROVIDER", "ollama")
    (line,) = error_lines()
    assert "OLLAMA_BASE_URL" in line
    assert url.partition("//")[2].partition("@")[2].partition(":")[0] in line
    assert "BRAIN_ALLOW_REMOTE_MODEL=true" in line
    monkeypatch.setenv("BRAIN_ALLOW_REMOTE_MODEL", "true")
    assert Settings().ollama_base_url == url


@pytest.mark.parametrize(
    "url", ["http://localhost:11434", "http://127.0.0.9", "http://[::1]:11434", "HTTP://LOCALHOST:1"]
)
def test_a_model_on_this_machine_needs_no_leave(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LM_PROVIDER", "ollama")
    monkeypatch.setenv("OLLAMA_BASE_URL", url)
    assert Settings().ollama_base_url == url


# The file


def test_the_file_is_read_and_the_environment_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text('# ours\nBRAIN_PROFILE="star"\nAB_ALPHA=0.1\nexport INBOX_MAX=7\nPATH_OF_OTHERS=x\n')
    assert (Settings().brain_profile, Settings().ab_alpha, Settings().inbox_max) == ("star", 0.1, 7)
    monkeypatch.setenv("AB_ALPHA", "0.2")
    assert Settings().ab_alpha == 0.2
    monkeypatch.setenv("AB_ALPHA", "")
    assert Settings().ab_alpha == 0.1


def test_a_wrong_value_in_the_file_gives_the_same_line(home: Path) -> None:
    (home / ".env").write_text("AB_ALPHA=3\nLM_PROVIDER=\n")
    assert error_lines() == ["AB_ALPHA='3': must be less than or equal to 0.5 (default 0.05)"]


@pytest.mark.parametrize(
    "content", [b"OLLAMA_MODEL=caf\xe9\n", b"\xff\xfeA\x00", None], ids=["latin-1", "utf-16", "folder"]
)
def test_a_file_that_cannot_be_read_gives_one_line(home: Path, content: bytes | None) -> None:
    if content is None:
        (home / ".env").mkdir()
    else:
        (home / ".env").write_bytes(content)
    (line,) = error_lines()
    assert line.startswith(".env: must be ")


def test_the_settings_of_a_process_are_read_once_and_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    first = current_settings()
    monkeypatch.setenv("AB_ALPHA", "0.2")
    assert current_settings() is first
    with pytest.raises(ValueError, match="frozen"):
        first.ab_alpha = 0.3
