"""Who is answered and who is not: names, origins, machines, the token and its sessions."""

import time
from collections.abc import Iterator

import httpx
import pytest
from langgraph_sdk import Auth
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from understudy.server import guard
from understudy.server.auth import admit
from understudy.server.token import SESSION, SESSION_SECONDS, new_session
from understudy.settings import current_settings

TOKEN = "a-token-of-some-length"
HTML = {"accept": "text/html,*/*"}
ANSWERED = ["/", "/threads", "/brain/status", "/openapi.json", "/metrics", "/ui/x", "/brain/ui/a", "/nowhere"]


async def greet(request: Request) -> Response:
    return PlainTextResponse("hello")


async def greet_live(wire: WebSocket) -> None:
    await wire.accept()
    await wire.send_text("hello")
    await wire.close()


ROUTES = [Route("/{path:path}", greet, methods=["GET", "POST"]), WebSocketRoute("/{path:path}", greet_live)]
APP = Starlette(routes=ROUTES, middleware=guard.MIDDLEWARE)


def caller(client: str = "127.0.0.1", app: ASGIApp = APP, **headers: str) -> TestClient:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return TestClient(app, "http://localhost:2024", client=(client, 5), headers=named, follow_redirects=False)


def hears(caller: TestClient, path: str = "/brain/live") -> bool:
    """Whether a websocket opens."""
    try:
        with caller.websocket_connect(f"ws://localhost:2024{path}") as wire:
            return wire.receive_text() == "hello"
    except WebSocketDisconnect as refused:
        assert refused.code == 1008
        return False


@pytest.fixture
def token(home: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("BRAIN_API_TOKEN", TOKEN)
    current_settings.cache_clear()
    yield TOKEN


# Whoever calls


def test_a_foreign_page_opens_no_websocket() -> None:
    for origin in ("https://evil.example", "null", "http://localhost:2025"):
        assert not hears(caller(origin=origin))
    assert hears(caller()) and hears(caller(origin="http://localhost:2024"))
    assert hears(caller(origin=guard.STUDIO), "/threads/live")


def test_our_own_routes_are_for_our_own_pages() -> None:
    studio = caller(origin=guard.STUDIO)
    assert studio.get("/threads").headers["access-control-allow-origin"] == guard.STUDIO
    for path in ("/brain", "/brain/status", "//brain/status", "/brain/ui", "/brain/login"):
        url = f"http://localhost:2024{path}"
        asked = studio.options(url, headers={"access-control-request-method": "POST"})
        for answer in (studio.get(url), studio.post(url), asked):
            assert answer.status_code == 403, path
            assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert caller(origin="http://localhost:2024").get(url).status_code == 200
    assert not hears(studio)
    assert studio.get("/brainy").status_code == 200


def test_a_prefix_of_the_whole_server_opens_nothing() -> None:
    below = caller(app=Starlette(routes=[Mount("/all", APP)]))
    assert below.get("/all/threads").status_code == 200
    assert below.post("/all/internal/truncate").status_code == 403
    assert below.get("/all/brain/status", headers={"origin": guard.STUDIO}).status_code == 403


def test_a_refusal_says_why_as_a_problem() -> None:
    answer = caller(host="evil.example").get("/threads")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": "this host is not served; BRAIN_ALLOWED_HOSTS names those that are",
    }


def test_what_a_foreign_page_embeds_is_refused_though_no_origin_comes_with_it() -> None:
    for site in ("cross-site", "same-site"):
        for mode, dest in (("no-cors", "script"), ("no-cors", "image"), ("navigate", "iframe"), ("navigate", "object")):
            asked = {"sec_fetch_site": site, "sec_fetch_mode": mode, "sec_fetch_dest": dest}
            for path in ("/threads", "/brain/ui/", "/brain/status"):
                answer = caller(**asked).get(path)
                assert answer.status_code == 403 and "load this" in answer.json()["detail"], asked
        followed = {"sec_fetch_site": site, "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
        assert caller(**followed).get("/brain/ui/").status_code == 200
    for site in ("same-origin", "none"):
        assert caller(sec_fetch_site=site, sec_fetch_mode="no-cors", sec_fetch_dest="image").get("/").status_code == 200
    studio = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "cors", "sec_fetch_dest": "empty"}
    assert caller(origin=guard.STUDIO, **studio).get("/threads").status_code == 200


def test_every_answer_says_that_it_is_neither_guessed_at_nor_framed_nor_kept() -> None:
    for path, status in (
        ("/threads", 200),
        ("/brain/status", 200),
        ("/internal/truncate", 403),
        ("/docs", 403),
        ("/docs%0A", 403),
    ):
        answer = caller().get(path)
        assert answer.status_code == status
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


# Without a token


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_programs_of_this_machine_need_no_token(client: str) -> None:
    for path in ANSWERED:
        assert caller(client).get(path).text == "hello", path
    assert hears(caller(client))


@pytest.mark.parametrize("client", ["203.0.113.5", "192.168.1.9", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "unknown"])
def test_another_machine_is_not_answered(client: str) -> None:
    for path in ANSWERED:
        answer = caller(client).get(path)
        assert answer.status_code == 403 and "set BRAIN_API_TOKEN" in answer.json()["detail"], path
    assert not hears(caller(client))
    assert caller(client).get("/ok").text == "hello"


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-Forwarded-Anything",
        "Forwarded",
        "Via",
        "X-Real-IP",
        "CF-Connecting-IP",
    ],
)
def test_what_came_through_a_proxy_is_not_of_this_machine(header: str) -> None:
    answer = caller(**{header: "127.0.0.1"}).get("/threads")
    assert answer.status_code == 403 and "through a proxy" in answer.json()["detail"]
    assert not hears(caller(**{header: "127.0.0.1"}))
    believing = ProxyHeadersMiddleware(APP, trusted_hosts="*")  # as uvicorn runs an app, with FORWARDED_ALLOW_IPS=*
    assert caller("203.0.113.5", believing, **{header: "127.0.0.1"}).get("/threads").status_code == 403


# With a token


def test_everything_but_health_and_the_log_in_needs_the_token(token: str) -> None:
    for client in ("127.0.0.1", "203.0.113.5"):
        for path in (*ANSWERED, "/ok/", "//ok", "/OK", "/brain/login/", "/brain/login/x", "/brain", "/brain/logout"):
            for method in ("GET", "POST", "OPTIONS", "HEAD"):
                answer = caller(client).request(method, f"http://localhost:2024{path}")
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.headers["content-type"] == "application/problem+json"
        assert not hears(caller(client)) and not hears(caller(client), "/ok") and not hears(caller(client), guard.LOGIN)
        for method, path in (("GET", "/ok"), ("GET", guard.LOGIN), ("POST", guard.LOGIN)):
            assert caller(client).request(method, path).text == "hello"
        assert caller(client).post("/ok").status_code == 401


@pytest.mark.parametrize("client", ["127.0.0.1", "203.0.113.5"])
def test_the_token_opens_everything_from_anywhere(token: str, client: str) -> None:
    for said in (
        {"authorization": f"Bearer {token}"},
        {"authorization": f"bearer  {token}"},
        {"x_api_key": token},
        {"x_api_key": token, "authorization": "Bearer of-another-server"},
        {"cookie": f"other=1; {SESSION}={new_session(token)}"},
        {"x_api_key": token, "x_forwarded_for": "198.51.100.1"},
    ):
        for path in ANSWERED:
            assert caller(client, **said).get(path).text == "hello", said
        assert hears(caller(client, **said))
    assert caller(client, x_api_key=token).post("/internal/truncate").status_code == 403
    assert caller(client, x_api_key=token, origin="https://evil.example").get("/threads").status_code == 403


def wrong_proofs() -> list[dict[str, str]]:
    until, _, signature = new_session(TOKEN).partition(".")
    sessions = [
        TOKEN,
        "",
        ".",
        until,
        f"{until}.",
        f".{signature}",
        f"{int(until) + 1}.{signature}",
        f"0{until}.{signature}",
        f"{until}.{signature[:-1]}",
        f"{until}.{signature.upper()}",
        new_session("another-token-of-length"),
        "\u00e9.\u00e9",
    ]
    bearers = [
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer \u00e9",
    ]
    return [
        *({"cookie": f"{SESSION}={session}"} for session in sessions),
        *({"authorization": bearer} for bearer in bearers),
        {"x_api_key": TOKEN.upper()},
        {"x_api_key": f"Bearer {TOKEN}"},
        {"x_auth_scheme": "langsmith"},
        {"x_auth_scheme": "langsmith", "x_api_key": "lsv2_pt_0123456789"},
    ]


@pytest.mark.parametrize("said", wrong_proofs(), ids=lambda said: "-".join(said))  # a session is of its time
def test_what_is_not_the_token_opens_nothing(token: str, said: dict[str, str]) -> None:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in said.items()]
    assert caller().get("/threads", headers=raw).status_code == 401


def test_a_session_ends_with_its_time_and_with_its_token(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session = new_session(token)
    assert token not in session
    begun = time.time()
    monkeypatch.setattr(time, "time", lambda: begun + SESSION_SECONDS - 2)
    assert caller(cookie=f"{SESSION}={session}").get("/threads").status_code == 200
    monkeypatch.setattr(time, "time", lambda: begun + SESSION_SECONDS + 2)
    assert caller(cookie=f"{SESSION}={session}").get("/threads").status_code == 401
    monkeypatch.setattr(time, "time", lambda: begun)
    monkeypatch.setenv("BRAIN_API_TOKEN", "another-token-of-length")
    current_settings.cache_clear()
    assert caller(cookie=f"{SESSION}={session}").get("/threads").status_code == 401


def test_studio_may_ask_without_the_token_and_reads_that_one_is_needed(token: str) -> None:
    studio = caller(origin=guard.STUDIO)
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    answer = studio.options("/threads", headers={**asked, "access-control-request-private-network": "true"})
    assert answer.status_code == 200 and answer.headers["access-control-allow-private-network"] == "true"
    assert answer.headers["access-control-allow-headers"] == "authorization"
    answer = studio.get("/threads")
    assert answer.status_code == 401 and answer.headers["access-control-allow-origin"] == guard.STUDIO
    assert studio.get("/threads", headers={"authorization": f"Bearer {token}"}).text == "hello"


def test_who_looks_at_a_page_is_sent_to_the_log_in(token: str) -> None:
    for path, wanted in (
        ("/brain/ui", "?next=/brain/ui"),
        ("/brain/ui/chats/a%20b?q=x%26y&n=1", "?next=/brain/ui/chats/a%2520b%3Fq%3Dx%2526y%26n%3D1"),
    ):
        answer = caller().get(path, headers=HTML)
        assert (answer.status_code, answer.headers["location"]) == (303, guard.LOGIN + wanted)
    assert caller().post("/brain/logout", headers=HTML).headers["location"] == guard.LOGIN
    for path in ("/brain/status", "/brain/uix", "/threads", "/openapi.json"):
        assert caller().get(path, headers=HTML).status_code == 401, path
    assert caller().post("/brain/ui", headers=HTML).status_code == 401


async def test_the_server_calls_itself_without_a_token(token: str) -> None:
    for root, status in (("/noauth", 200), ("/noauth/all", 200), ("/noauthority", 403), ("", 403)):
        itself = httpx.ASGITransport(APP, root_path=root)
        async with httpx.AsyncClient(transport=itself, base_url="http://inside") as client:
            assert (await client.get("/threads")).status_code == status, root


async def test_langgraph_asks_the_same_once_more(token: str) -> None:
    for headers in ({b"authorization": f"Bearer {token}".encode()}, {b"x-api-key": token.encode()}):
        assert await admit("/threads", headers) == "caller"
    assert await admit("/threads", {b"cookie": f"{SESSION}={new_session(token)}".encode()}) == "caller"
    assert await admit(guard.LOGIN, {}) == "caller"
    for path in ("/threads", "/brain/status", "/brain/login/", "/brain", "/ok"):
        for wrong in ({}, {b"x-auth-scheme": b"langsmith"}, {b"authorization": b"Bearer x"}):
            with pytest.raises(Auth.exceptions.HTTPException) as refused:
                await admit(path, wrong)
            assert refused.value.status_code == 401


async def test_langgraph_asks_for_no_token_where_none_is_set() -> None:
    assert await admit("/threads", {}) == "caller"
