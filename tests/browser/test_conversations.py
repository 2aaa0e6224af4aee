"""The pages of conversations in a real browser: hostile text stays text, links lead right, erasing asks first."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from understudy.events import Event
from understudy.observing import thread_of
from understudy.tests.gyms import observing

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("nicegui")
CHROMIUM = Path("/usr/bin/chromium")
ID = "weird/<img src=x onerror=alert(3)>?a=1&b#c"
TEXT = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202egpj.exe {{ 7*7 }} **bold**\nsecond line"
CUSTOMER = {"name": "<b>Ines</b>"}


@pytest.fixture(scope="module")
def home_url(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Iterator[str]:
    """The dashboard on a gym with bundled conversations and a hostile one."""
    folder = tmp_path_factory.mktemp("dashboard")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("LANGSMITH_", "LANGCHAIN_"))}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        brain = observing(kept)(3)
        assert brain.gym is not None
        said = Event("customer_message", TEXT, None, "m1", {"customer": CUSTOMER})
        brain.gym.append(ID, [said, Event("agent_message", "ok", "greet", "m2")], "default")
        brain.gym.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "understudy.server.app:app", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env={**environ, "SCHEDULER_ENABLED": "false"}, stdout=log, stderr=subprocess.STDOUT
        )
        url = f"http://localhost:{port}"
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{url}/brain/status", timeout=5).read()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
        yield url
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(home_url: str, browser: "playwright.Browser") -> Iterator["playwright.Page"]:
    """A page on which nothing may go wrong, and from which nothing may ask elsewhere."""
    page = browser.new_page(base_url=home_url)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith((home_url, "data:")) else None)
    yield page
    page.close()
    assert wrong == []


def test_hostile_text_stays_text_in_the_list_and_in_its_conversation(page: "playwright.Page") -> None:
    page.goto("/brain/ui/conversations")
    row = page.locator(".talk", has_text="weird/")
    assert row.locator("a").inner_text() == ID
    assert "<script>alert(1)</script><img src=x onerror=alert(2)> \\u202egpj.exe" in row.inner_text()
    row.locator("a").click()
    said = page.locator(".bubble.customer .said")
    said.wait_for()
    assert said.inner_text() == TEXT.replace("\u202e", "\\u202e")
    assert page.locator(".facts dd").first.inner_text() == CUSTOMER["name"]
    assert page.locator("main img, main script, main b").count() == 0


def test_studio_and_the_state_are_one_click_away(page: "playwright.Page", home_url: str) -> None:
    page.goto("/brain/ui/conversations/one?id=dt-001")
    link = urlsplit(page.get_by_text("Open in Studio").get_attribute("href") or "")
    assert link.netloc == "smith.langchain.com" and link.path == f"/studio/thread/{thread_of('dt-001')}"
    assert parse_qs(link.query) == {"baseUrl": [home_url]}
    page.locator("details", has_text="where it is").first.locator("> summary").click()
    state = page.get_by_text("State at this turn").first.get_attribute("href") or ""
    assert state.startswith(f"{home_url}/threads/{thread_of('dt-001')}/state/")


def test_what_is_asked_for_is_in_the_address(page: "playwright.Page") -> None:
    page.goto("/brain/ui/conversations")
    page.locator("select[name=outcome]").select_option("open")
    page.locator("input[name=prefix]").fill("weird/<")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**prefix=weird*")
    assert page.locator(".talk").count() == 1
    assert page.locator("select[name=outcome]").input_value() == "open"
    assert page.locator("input[name=prefix]").input_value() == "weird/<"
    page.get_by_role("link", name="All of them").click()
    page.wait_for_url("**/brain/ui/conversations")
    page.goto("/brain/ui/conversations?outcome=won")
    assert "outcome" in page.locator(".empty").inner_text()


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_window(page: "playwright.Page", width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("", "/one?id=dt-001", "/one?id=nobody"):
        page.goto(f"/brain/ui/conversations{path}")
        page.locator("main section, main .empty").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_conversation_is_forgotten_only_when_asked_twice(page: "playwright.Page", home_url: str) -> None:
    page.goto("/brain/ui/conversations/one?id=dt-003")
    page.get_by_role("button", name="Forget this conversation").click()
    page.get_by_role("button", name="Keep it").click()
    assert urllib.request.urlopen(f"{home_url}/brain/conversations/dt-003").status == 200
    page.get_by_role("button", name="Forget this conversation").click()
    page.get_by_role("button", name="Forget it").click()
    page.get_by_text("1 conversation erased").wait_for()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{home_url}/brain/conversations/dt-003")
