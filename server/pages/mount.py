"""Hangs the dashboard into the server's app, under /brain/ui; nothing it shows may ask for anything from elsewhere."""

from importlib import import_module

from fastapi import FastAPI
from nicegui import app as dashboard
from nicegui import ui
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.server.pages.frame import ICON, PAGES, ROOT

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


class Closed:
    """Adds to every answer of the dashboard what a browser may load and who may frame it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, with the headers."""

        async def closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = POLICY
                headers["referrer-policy"] = "same-origin"  # no-referrer would make a form's Origin null
                headers["x-content-type-options"] = "nosniff"
                if headers.get("content-type", "").startswith("text/html"):
                    headers["cache-control"] = "no-store"
            await send(message)

        await self._app(scope, receive, closed)


def add_dashboard(app: FastAPI) -> None:
    """Mount the dashboard; must be called before the lifespan of the app is taken."""
    for _, name, _ in PAGES:
        import_module(f"understudy.server.pages.{name}")
    dashboard.add_middleware(Closed)
    ui.run_with(
        app, mount_path=ROOT, title="understudy", favicon=ICON, dark=None, tailwind=False, show_welcome_message=False,
        reconnect_timeout=10,
    )  # fmt: skip
