"""The log-in page: a person gives BRAIN_API_TOKEN once, and the browser holds a session."""

import asyncio
import re
from pathlib import Path
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from understudy.server.guard import DASHBOARD, LOGIN, LOGOUT
from understudy.server.token import SESSION, SESSION_SECONDS, needed_token, new_session, proves, same

LONGEST_FORM = 4096
"""Bytes."""

WAIT_SECONDS = 0.5
"""What a wrong token costs."""

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
}

_FOLDER = Path(__file__).parents[1] / "templates"
_PAGE = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined).get_template(
    "login.html"
)


async def show(request: Request) -> Response:
    """Answer with the form, or go on where that has been filled in."""
    token = needed_token()
    return _go_on(request) if token is not None and proves(request, token) else _page(request)


async def enter(request: Request) -> Response:
    """Take the token from the form, and give the browser a session."""
    token, said = needed_token(), await _said(request)
    if token is None:
        return _page(request)
    if not same(said, token):
        await asyncio.sleep(WAIT_SECONDS)
        return _page(request, "This is not the token.", 401)
    response = _go_on(request)
    response.set_cookie(
        SESSION, new_session(token), SESSION_SECONDS, secure=_is_secure(request), httponly=True, samesite="strict"
    )
    return response


async def leave(request: Request) -> Response:
    """Take the session from the browser."""
    response = RedirectResponse(_root(request) + LOGIN, 303)
    response.delete_cookie(SESSION, secure=_is_secure(request), httponly=True, samesite="strict")
    return response


ROUTES = [
    Route(LOGIN, show, methods=["GET"]),
    Route(LOGIN, enter, methods=["POST"]),
    Route(LOGOUT, leave, methods=["POST"]),
]


def _page(request: Request, why: str = "", status: int = 200) -> Response:
    html = _PAGE.render(why=why, needed=needed_token() is not None, dashboard=_root(request) + DASHBOARD)
    return HTMLResponse(html, status, _HEADERS)


def _go_on(request: Request) -> Response:
    """Go to the page that was wanted, if it is one of this server."""
    wanted = request.query_params.get("next", "")
    own = re.fullmatch(r"/(?!/)[!-\[\]-~]*", wanted)  # browsers take a backslash for a slash
    return RedirectResponse(wanted if own else _root(request) + DASHBOARD, 303)


async def _said(request: Request) -> str:
    """Return the token in a form; empty where there is none, or too much."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM:
            return ""
    return parse_qs(body.decode("latin-1")).get("token", [""])[0].strip()


def _is_secure(call: HTTPConnection) -> bool:
    """Tell whether the browser has come by https; a proxy's word is enough to be stricter."""
    return call.url.scheme == "https" or call.headers.get("x-forwarded-proto", "").strip() == "https"


def _root(call: HTTPConnection) -> str:
    """Return the prefix that the whole server may have."""
    return str(call.scope.get("root_path", ""))
