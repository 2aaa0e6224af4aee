"""Who may call `langgraph dev`: programs of this machine or whoever has the token, and Studio; no other web page.

LangGraph's development server answers any page that a browser has open, and has routes that wipe all threads or answer
without a log-in. Being the outermost middleware of the app that `langgraph.json` names, these see every request before
any route of either does.
"""

from collections.abc import Collection, Sequence
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.server.problems import answer
from understudy.server.token import needed_token, proves
from understudy.settings import current_settings, is_local

STUDIO = "https://smith.langchain.com"
"""Where LangGraph Studio's pages come from; `langgraph.json` names it too."""

OURS = "/brain"
DASHBOARD = "/brain/ui"
LOGIN = "/brain/login"
LOGOUT = "/brain/logout"

CLOSED = ("/internal", "/deploy", "/docs")
"""Routes that nobody here needs: those that answer without a log-in, and a page that runs another server's script."""

_SEALED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # no-referrer would make a form's Origin null
    "cross-origin-resource-policy": "same-origin",  # of what a page embeds; what it may fetch, CORS says
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
"""What every answer tells a browser that has nothing else to say of it."""

_OPEN = {("GET", "/ok"), ("HEAD", "/ok"), ("GET", LOGIN), ("HEAD", LOGIN), ("POST", LOGIN)}
"""What is answered without the token: is the server up, and the log-in page."""

_NO_TOKEN = "BRAIN_API_TOKEN is needed: send Authorization: Bearer TOKEN, or log in at /brain/login"

_IN_PROCESS = "/noauth"
"""The root path by which LangGraph's own client calls the server inside its process."""

_EXPOSED = ("x-pagination-total", "x-pagination-next", "content-location")

_FORWARDED = {
    "forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-original-host", "x-original-url",
    "true-client-ip", "fastly-client-ip", "cf-connecting-ip", "cf-ray", "cdn-loop",
}  # fmt: skip
"""What proxies add, apart from X-Forwarded-*."""


class Sealed:
    """Adds to every answer, LangGraph's too, that it is neither guessed at, framed, embedded elsewhere nor kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, with the headers that it has not set itself."""

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SEALED.items():
                    headers.setdefault(name, value)
                if not _is_below(_path(scope), DASHBOARD):  # whose scripts may be kept
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, sealed)


class Guard:
    """Refuses what comes under a foreign Host (DNS rebinding), from a foreign Origin, or for a closed route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 with the reason, or let the request through."""
        why = refusal(scope, current_settings().brain_allowed_hosts) if _comes_from_outside(scope) else None
        if why is None:
            await self._app(scope, receive, send)
        else:
            await _refuse(answer(403, why), why, scope, receive, send)


class Lock:
    """Refuses who has not the token; where none is set, who is not on this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 403 with the reason, send a person to the log-in page, or let the request through."""
        if not _comes_from_outside(scope) or (scope.get("method"), _path(scope)) in _OPEN:
            await self._app(scope, receive, send)
            return
        call, token = HTTPConnection(scope), needed_token()
        why = absence(call) if token is None else None if proves(call, token) else _NO_TOKEN
        if why is None:
            await self._app(scope, receive, send)
        else:
            refused = answer(403, why) if token is None else _ask_for_token(call)
            await _refuse(refused, why, scope, receive, send)


def refusal(scope: Scope, hosts: Collection[str]) -> str | None:
    """Return why a request is refused whoever sends it, or None."""
    said = _values(scope, b"host")
    host = said[0] if len(said) == 1 else ""
    if "*" not in hosts and name_of(host) not in hosts:
        return "this host is not served; BRAIN_ALLOWED_HOSTS names those that are"
    path = "/" + _path(scope).lstrip("/").removesuffix("\n")  # which a route's pattern passes over
    own = (f"http://{host}", f"https://{host}")
    for origin in _values(scope, b"origin"):
        if origin not in own and (origin != STUDIO or _is_below(path, OURS)):
            return "pages of this origin may not call"
    if _is_embedded(scope):
        return "pages of another origin may not load this into theirs"
    if any(_is_below(path, closed) for closed in CLOSED):
        return "this route is closed"
    return None


def absence(call: HTTPConnection) -> str | None:
    """Return why a caller is taken for one of another machine, or None."""
    if any(name in _FORWARDED or name.startswith("x-forwarded-") for name in call.headers):
        return "this came through a proxy, and may be anybody's; set BRAIN_API_TOKEN to let others in"
    if call.client is None or not is_local(call.client.host):
        return "only programs of this machine may call; set BRAIN_API_TOKEN to let others in"
    return None


def _comes_from_outside(scope: Scope) -> bool:
    inside = f"{scope.get('root_path', '')}/".startswith(f"{_IN_PROCESS}/")
    return scope["type"] in ("http", "websocket") and not inside


async def _refuse(refused: Response, why: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why})
    else:
        await refused(scope, receive, send)


def _ask_for_token(call: HTTPConnection) -> Response:
    """Send whoever looks at a page to the log-in, and answer programs 401."""
    path = _path(call.scope)
    looks = call.scope.get("method") == "GET" and _is_below(path, DASHBOARD)
    if "text/html" not in call.headers.get("accept", "") or not (looks or path == LOGOUT):
        return answer(401, _NO_TOKEN, {"www-authenticate": "Bearer"})
    query = call.scope["query_string"].decode("latin-1")
    wanted = quote(str(call.scope["path"])) + (f"?{query}" if query else "")
    page = str(call.scope.get("root_path", "")) + LOGIN
    return RedirectResponse(f"{page}?next={quote(wanted)}" if looks else page, 303)


def _path(scope: Scope) -> str:
    """Return the path below the prefix that the whole server may have."""
    return str(scope["path"]).removeprefix(str(scope.get("root_path", "")))


def _is_embedded(scope: Scope) -> bool:
    """Tell whether a foreign page has this loaded as a script, a picture or a frame.

    No Origin comes with such a GET. Browsers say instead where it is from, unless the address is one of plain http that
    is not of this machine. A link that a person follows is none.
    """
    if not {"cross-site", "same-site"}.intersection(_values(scope, b"sec-fetch-site")) or _values(scope, b"origin"):
        return False
    return _values(scope, b"sec-fetch-mode") != ["navigate"] or _values(scope, b"sec-fetch-dest") != ["document"]


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _values(scope: Scope, name: bytes) -> Sequence[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def name_of(host: str) -> str | None:
    """Return the name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


MIDDLEWARE = [
    Middleware(Sealed),
    Middleware(Guard),
    # Starlette's own answer to Studio's question whether a page may call a private network is no.
    Middleware(
        CORSMiddleware,
        allow_origins=[STUDIO],
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=list(_EXPOSED),
        allow_private_network=True,
    ),
    Middleware(Lock),  # inside, so that Studio may ask without the token, and read that one is needed
]
