"""Headless Chromium that reaches this machine alone, and what its pages complain of."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")

_FLAGS = [
    "--no-sandbox",  # root has none in a container
    "--disable-background-networking",
    # Whatever a page asks for by name, nobody outside is asked where that is.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser. While it runs, its thread can run no event loop of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, complaints: list[str], scheme: Scheme = "light") -> Iterator[Page]:
    """Open an empty page of a visitor who has never been there.

    Args:
        browser: from `chromium`.
        complaints: gets a line for each error in the console, each exception that nothing caught, each request that
            would leave 127.0.0.1 (it is stopped), and each request without an answer.
        scheme: what the visitor's system prefers.
    """
    with browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.set_default_timeout(10_000)
        context.route(_is_outside, lambda route: route.abort())
        context.on("request", lambda request: complaints.extend(_outside(request.url)))
        context.on("console", lambda said: complaints.append(f"console: {said.text}") if said.type == "error" else None)
        context.on("weberror", lambda error: complaints.append(f"exception: {error.error}"))
        page.on("websocket", lambda socket: complaints.extend(_outside(socket.url)))
        yield page


def off_the_loop(work: Callable[[], None]) -> None:
    """Do something in another thread: this one may have the browser's event loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(work).result()


def _is_outside(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob", "about") and parts.hostname != "127.0.0.1"


def _outside(url: str) -> list[str]:
    return [f"leaves this machine: {url}"] if _is_outside(url) else []
