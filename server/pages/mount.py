"""Hangs the dashboard into the server's app, under /brain/ui; nothing it shows may ask for anything from elsewhere."""

from importlib import import_module

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, RedirectResponse
from nicegui import Client, ui
from nicegui import app as dashboard
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.intake import UnderstudyError
from understudy.server.pages.frame import ICON, PAGES, ROOT, head, missing
from understudy.server.problems import Caught, status_of
from understudy.showing import printable

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # NiceGUI's page is a script, and Vue compiles templates
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

BELOW = ("compared",)
"""Files of pages that stand below one of PAGES."""


class Closed:
    """Adds to every answer of the dashboard what its pages may load; guard.py says the rest."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, with the headers; a stricter policy of its own stays."""

        async def closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", POLICY)
                if headers.get("content-type", "").startswith("text/html"):
                    headers["cache-control"] = "no-store"
            await send(message)

        await self._app(scope, receive, closed)


def add_dashboard(app: FastAPI) -> None:
    """Mount the dashboard; must be called before the lifespan of the app is taken."""
    for name in (*(name for _, name, _ in PAGES), *BELOW):
        import_module(f"understudy.server.pages.{name}")
    dashboard.add_middleware(Caught)
    dashboard.add_middleware(Closed)
    dashboard.add_exception_handler(404, no_page)
    dashboard.add_exception_handler(RequestValidationError, no_page)
    dashboard.add_exception_handler(UnderstudyError, _no_answer)
    app.add_route(ROOT, _to_the_first)
    ui.run_with(
        app, mount_path=ROOT, title="understudy", favicon=ICON, dark=None, language="en-US", tailwind=False,
        show_welcome_message=False, reconnect_timeout=10,
    )  # fmt: skip


async def _to_the_first(request: Request) -> Response:
    return RedirectResponse(f"{ROOT}{PAGES[0][0]}")


async def no_page(request: Request, error: Exception) -> Response:
    """Answer that there is no such page, with a way on; a program that asks for a file gets one line."""
    detail = getattr(error, "detail", "Not Found")
    return _instead(request, 404, "There is no page of that name.", "" if detail == "Not Found" else detail)


async def _no_answer(request: Request, error: Exception) -> Response:
    """Answer what stands against an answer: a route that is no page has no place to say so."""
    status = status_of(error) if isinstance(error, UnderstudyError) else 500
    return _instead(request, status, "This cannot be shown.", str(error))


def _instead(request: Request, status: int, what: str, why: str) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(f"{printable(why or 'there is nothing of that name')}\n", status)
    with Client(ui.page("", title=f"{what.rstrip('.')} - understudy"), request=request) as client:
        head("")
        missing(what, why)
    return client.build_response(request, status)
