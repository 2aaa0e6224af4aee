"""Who may call `langgraph dev`: programs of this machine, and Studio; no other web page, and nobody under another name.

LangGraph's development server answers any page that a browser has open, and has routes that wipe all threads. Being the
outermost middleware of the app that `langgraph.json` names, this sees every request before any route of either does.
"""

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from understudy.settings import current_settings

STUDIO = "https://smith.langchain.com"
"""Where LangGraph Studio's pages come from; `langgraph.json` names it too."""

CLOSED = ("/internal", "/deploy")
"""Routes of the server that answer without a log-in, and that nobody here needs."""

_IN_PROCESS = "/noauth"
"""The root path by which LangGraph's own client calls the server inside its process."""

_EXPOSED = ("x-pagination-total", "x-pagination-next", "content-location")


class Guard:
    """Refuses what comes under a foreign Host (DNS rebinding), from a foreign Origin, or for a closed route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 with the reason, or let the request through."""
        why = refusal(scope, current_settings().brain_allowed_hosts)
        if why is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": why})
        else:
            await PlainTextResponse(f"{why}\n", 403)(scope, receive, send)


def refusal(scope: Scope, hosts: Collection[str]) -> str | None:
    """Return why a request is refused, or None."""
    if scope["type"] not in ("http", "websocket") or scope.get("root_path", "").startswith(_IN_PROCESS):
        return None
    said = _values(scope, b"host")
    host = said[0] if len(said) == 1 else ""
    if "*" not in hosts and _name(host) not in hosts:
        return "this host is not served; BRAIN_ALLOWED_HOSTS names those that are"
    for origin in _values(scope, b"origin"):
        if origin not in (STUDIO, f"http://{host}", f"https://{host}"):
            return "pages of this origin may not call"
    path = "/" + str(scope["path"]).lstrip("/")
    if any(path == closed or path.startswith(f"{closed}/") for closed in CLOSED):
        return "this route is closed"
    return None


def _values(scope: Scope, name: bytes) -> Sequence[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _name(host: str) -> str | None:
    """Return the name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


MIDDLEWARE = [
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
]
