"""`langgraph dev` with BRAIN_API_TOKEN, open to other machines, over sockets."""

import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph_sdk import get_sync_client
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from understudy.benchmarks.dev_server import DevServer, command, environment_of, free_port, langgraph_dev
from understudy.server import guard
from understudy.settings import current_settings

TOKEN = "a-token-of-some-length"
BEARER = {"authorization": f"Bearer {TOKEN}"}
NO_PROOF = [{}, {"x_auth_scheme": "langsmith"}, {"x_api_key": "lsv2_pt_0"}, {"authorization": "Bearer x"}]
EVERYTHING = [
    "/", "/info", "/threads", "/brain/status", "/openapi.json", "/metrics", "/ui/x", "/brain/ui", "/mcp",
    "/store/items", "/nowhere", "/ok/",
]  # fmt: skip


def own_address() -> str | None:
    """Return an address of this machine by which others know it. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        try:
            wire.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = str(wire.getsockname()[0])
    return None if found.startswith("127.") else found


ADDRESS = own_address()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    folder = tmp_path_factory.mktemp("server")
    hosts = ",".join(filter(None, ("localhost", "127.0.0.1", ADDRESS)))
    with langgraph_dev(folder, "--host", "0.0.0.0", BRAIN_API_TOKEN=TOKEN, BRAIN_ALLOWED_HOSTS=hosts) as server:
        yield server
    log = re.sub(r"\x1b\[\d+m", "", server.log)
    assert "auth_handler=custom" in log and "auth_handler=langsmith" not in log
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == [], "the token is written down"


def opens(server: DevServer, path: str, **headers: str) -> bool:
    try:
        with connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers, proxy=None):
            return True
    except InvalidStatus as refused:
        assert refused.response.status_code == 403
        return False


def test_nothing_but_health_is_answered_without_the_token(server: DevServer) -> None:
    for path in EVERYTHING:
        for method in ("GET", "POST"):
            for headers in NO_PROOF:
                status, answered = server.answer(path, method=method, **headers)
                assert status == 401 and answered["www-authenticate"] == "Bearer", (path, headers)
    assert server.answer("/internal/truncate", {})[0] == 403
    assert server.answer("/ok")[0] == 200


def test_the_token_opens_what_there_is(server: DevServer) -> None:
    for path in ("/", "/info", "/openapi.json", "/metrics"):
        assert server.answer(path, **BEARER)[0] == 200, path
    assert server.answer("/threads/search", {}, x_api_key=TOKEN)[0] == 200
    assert server.answer("/internal/truncate", {}, **BEARER)[0] == 403
    assert server.answer("/nowhere", **BEARER)[0] == 404


def test_a_turn_is_observed_by_whoever_has_the_token(server: DevServer) -> None:
    said = {"messages": [{"role": "user", "content": "Can you take my van on Friday?"}]}
    with get_sync_client(url=server.url, api_key=TOKEN) as client:
        thread = client.threads.create()["thread_id"]
        assert client.runs.wait(thread, "shadow", input=said)["faults"] == []


def test_the_token_lets_in_no_foreign_name_or_page(server: DevServer) -> None:
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert server.answer("/threads/search", {}, **headers, **BEARER)[0] == 403
    for path in ("/brain/status", "/brain/login"):
        status, answered = server.answer(path, origin=guard.STUDIO, **BEARER)
        assert status == 403 and answered["access-control-allow-origin"] is None


def test_studio_works_with_the_token(server: DevServer) -> None:
    asked = {"access_control_request_method": "POST", "access_control_request_private_network": "true"}
    status, answered = server.answer("/threads/search", method="OPTIONS", origin=guard.STUDIO, **asked)
    assert status == 200 and answered["access-control-allow-private-network"] == "true"
    own = {"x_auth_scheme": "langsmith"}  # what Studio's requests carry, with the token or without
    for headers, expected in (({}, 401), (own, 401), (BEARER, 200), ({**own, **BEARER}, 200)):
        status, answered = server.answer("/threads/search", {}, origin=guard.STUDIO, **headers)
        assert (status, answered["access-control-allow-origin"]) == (expected, guard.STUDIO)


def test_websockets_need_the_token_and_a_known_page(server: DevServer) -> None:
    with get_sync_client(url=server.url, api_key=TOKEN) as client:
        thread = client.threads.create()["thread_id"]
    path = f"/threads/{thread}/stream/events"
    assert opens(server, path, **BEARER)
    assert opens(server, path, **BEARER, Origin=guard.STUDIO)
    assert not opens(server, path)
    assert not opens(server, path, **{"x-auth-scheme": "langsmith"})
    assert not opens(server, path, **BEARER, Origin="https://evil.example")
    assert not opens(server, "/brain/live", **BEARER, Origin=guard.STUDIO)


def test_a_person_logs_in(server: DevServer) -> None:
    status, answered = server.answer("/brain/ui/x", accept="text/html")
    assert (status, answered["location"]) == (303, "/brain/login?next=/brain/ui/x")
    assert server.answer("/brain/login")[0] == 200
    assert server.answer("/brain/login", b"token=wrong")[0] == 401
    status, answered = server.answer(answered["location"], f"token={TOKEN}".encode(), origin=server.url)
    assert (status, answered["location"]) == (303, "/brain/ui/x")
    session = answered["set-cookie"].partition(";")[0]
    assert server.answer("/threads/search", {}, cookie=session)[0] == 200
    assert server.answer("/openapi.json", cookie=session)[0] == 200
    status, answered = server.answer("/brain/logout", b"", cookie=session)
    assert status == 303 and answered["set-cookie"].startswith('understudy_session="";')


@pytest.mark.skipif(ADDRESS is None, reason="this machine has no address but its own loopback")
@pytest.mark.allow_hosts([ADDRESS or "127.0.0.1", "127.0.0.1"])
def test_another_machine_needs_the_token(server: DevServer) -> None:
    assert ADDRESS is not None
    for path in EVERYTHING:
        assert server.answer(path, at=ADDRESS)[0] == 401, path
        assert server.answer(path, at=ADDRESS, x_forwarded_for="127.0.0.1", x_real_ip="127.0.0.1")[0] == 401, path
    assert server.answer("/ok", at=ADDRESS)[0] == 200
    assert server.answer("/threads/search", {}, at=ADDRESS, **BEARER)[0] == 200


@pytest.mark.parametrize(
    ("options", "environment", "says"),
    [
        (("--host", "0.0.0.0"), {}, "can be reached by others: set BRAIN_API_TOKEN"),  # also the process that reloads
        (("--no-reload",), {"RL_GYM_DB_PATH": "."}, "check RL_GYM_DB_PATH"),
    ],
)
def test_what_would_be_open_or_is_set_wrong_does_not_start(
    home: Path, options: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    pytest.importorskip("langgraph_api")
    env = environment_of(home, **environment)
    ended = subprocess.run(
        command(free_port(), *options), cwd=home, env=env, capture_output=True, text=True, timeout=60
    )
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("understudy: ")]
    assert ended.returncode != 0 and says in line and "short-word" not in line
    assert "Traceback" not in ended.stdout + ended.stderr
    assert not (home / "brain_gym.db").exists()


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"LANGGRAPH_API_URL": "http://0.0.0.0:2024"}, "can be reached by others: set BRAIN_API_TOKEN"),
        ({"LANGGRAPH_API_URL": "https://tunnel.example"}, "can be reached by others: set BRAIN_API_TOKEN"),
        ({"LEASE_SECONDS": "soon"}, "LEASE_SECONDS='soon'"),
        ({"BRAIN_API_TOKEN": "short-word"}, "BRAIN_API_TOKEN=***: must be 16 to 500 characters"),
    ],
)
def test_the_line_says_what_is_wrong(
    home: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], says: str
) -> None:
    starting = pytest.importorskip("understudy.server.starting")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=f"^understudy: .*{re.escape(says)}"):
        starting.check_start()


def test_nothing_stops_a_server_that_nobody_else_can_reach_or_that_has_a_token(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = pytest.importorskip("understudy.server.starting")
    monkeypatch.setenv("LANGGRAPH_API_URL", "http://127.0.0.1:2024")
    starting.check_start()
    monkeypatch.setenv("LANGGRAPH_API_URL", "http://0.0.0.0:2024")
    monkeypatch.setenv("BRAIN_API_TOKEN", TOKEN)
    current_settings.cache_clear()
    starting.check_start()
