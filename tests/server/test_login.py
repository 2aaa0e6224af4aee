"""The log-in page: a token given once, a session kept by the browser."""

import re
from collections.abc import Iterator
from http.cookies import Morsel, SimpleCookie
from urllib.parse import quote

import pytest
from httpx import Response
from starlette.applications import Starlette
from starlette.testclient import TestClient

from understudy.server import guard, login
from understudy.server.token import SESSION, SESSION_SECONDS
from understudy.settings import current_settings

TOKEN = "a-token+of&some%length"
APP = Starlette(routes=login.ROUTES, middleware=guard.MIDDLEWARE)


@pytest.fixture
def browser(home: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("BRAIN_API_TOKEN", TOKEN)
    monkeypatch.setattr(login, "WAIT_SECONDS", 0)
    current_settings.cache_clear()
    with TestClient(APP, "http://localhost", client=("127.0.0.1", 5), follow_redirects=False) as browser:
        yield browser


def log_in(browser: TestClient, token: str = TOKEN, **query: str) -> Response:
    return browser.post(guard.LOGIN, params=query, data={"token": token})


def cookie(answer: Response) -> Morsel[str]:
    return SimpleCookie(answer.headers["set-cookie"])[SESSION]


def test_a_person_logs_in_and_out(browser: TestClient) -> None:
    page = browser.get(guard.LOGIN, params={"next": "/brain/ui/versions?module=intent"})
    assert page.status_code == 200 and 'type="password"' in page.text
    answer = log_in(browser, next="/brain/ui/versions?module=intent")
    assert (answer.status_code, answer.headers["location"]) == (303, "/brain/ui/versions?module=intent")
    held = cookie(answer)
    assert held["httponly"] and held["samesite"] == "strict" and held["path"] == "/" and not held["secure"]
    assert int(held["max-age"]) == SESSION_SECONDS and TOKEN not in held.value
    assert browser.get("/threads").status_code == 404  # the guard has let it through to where nothing is
    again = browser.get(guard.LOGIN, params={"next": "/brain/ui/jobs"})
    assert (again.status_code, again.headers["location"]) == (303, "/brain/ui/jobs")
    out = browser.post(guard.LOGOUT)
    assert (out.status_code, out.headers["location"]) == (303, guard.LOGIN)
    assert browser.get("/threads").status_code == 401


@pytest.mark.parametrize("said", ["", "wrong", TOKEN[:-1], f"{TOKEN}x", "é", "<b>x</b>", "x" * 5000])
def test_a_wrong_token_gets_the_page_again(browser: TestClient, said: str) -> None:
    answer = log_in(browser, said, next="/brain/ui")
    assert answer.status_code == 401 and "This is not the token." in answer.text
    assert "set-cookie" not in answer.headers and "<b>x" not in answer.text
    assert browser.get("/threads").status_code == 401


def test_a_form_of_any_size_or_kind_is_survived(browser: TestClient) -> None:
    for body in (b"", b"\xff\xfe", b"token", b"&" * 4000, b"token=" + b"x" * 9_000_000, b"a=1&token=" + TOKEN.encode()):
        assert browser.post(guard.LOGIN, content=body).status_code == 401
    long = b"a=" + b"x" * login.LONGEST_FORM + b"&token=" + quote(TOKEN).encode()
    assert browser.post(guard.LOGIN, content=long).status_code == 401
    assert browser.post(guard.LOGIN, content=f"a=1&token=%20{quote(TOKEN)}%0A".encode()).status_code == 303


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "evil",
        "/\n/evil.example", "javascript:alert(1)", "", " /brain/ui", "/x\r\nset-cookie: a=b", "/é", "///evil.example",
    ],
)  # fmt: skip
def test_a_log_in_leads_to_no_other_server(browser: TestClient, wanted: str) -> None:
    assert log_in(browser, next=wanted).headers["location"] == guard.DASHBOARD


def test_a_browser_that_comes_by_https_keeps_its_session_to_that(browser: TestClient) -> None:
    assert cookie(browser.post(f"https://localhost{guard.LOGIN}", data={"token": TOKEN}))["secure"]
    forwarded = {"x-forwarded-proto": "https", "x-forwarded-for": "198.51.100.1"}
    assert cookie(browser.post(guard.LOGIN, data={"token": TOKEN}, headers=forwarded))["secure"]


def test_no_other_page_may_frame_load_or_post_to_it(browser: TestClient) -> None:
    answer = browser.get(guard.LOGIN)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self'" and "script-src" not in policy
    assert answer.headers["cache-control"] == "no-store" and answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script|https?://|\bon\w+=|src=", answer.text)
    for origin in ("https://evil.example", "null", guard.STUDIO):
        refused = browser.post(guard.LOGIN, data={"token": TOKEN}, headers={"origin": origin})
        assert refused.status_code == 403 and "set-cookie" not in refused.headers


def test_where_no_token_is_set_the_page_says_so(home: object) -> None:
    browser = TestClient(APP, "http://localhost", client=("127.0.0.1", 5), follow_redirects=False)
    for answer in (browser.get(guard.LOGIN), log_in(browser)):
        assert answer.status_code == 200 and "no log-in is needed" in answer.text
        assert f'href="{guard.DASHBOARD}"' in answer.text and "set-cookie" not in answer.headers
