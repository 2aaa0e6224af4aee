"""What a browser makes of our pages, and of one that is none of ours."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page

from understudy.benchmarks.dev_server import DevServer
from understudy.report import page as report_page
from understudy.tests.browser.chromium import SCHEMES, Scheme

CALLS = """async ([to, how]) => {
  const tried = async (path, more) => {
    try { return (await fetch(to + path, {method: "POST", body: "{}", ...how, ...more})).status; }
    catch { return "refused"; }
  };
  const wire = new Promise((done) => {
    const path = "/brain/ui/_nicegui_ws/socket.io/?EIO=4&transport=websocket";
    const socket = new WebSocket(to.replace("http", "ws") + path);
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
  });
  return [await tried("/threads/search"), await tried("/threads"), await tried("/internal/truncate"), await wire];
}"""
"""What a page can try: read the threads, make one, wipe them, open a websocket."""


@contextmanager
def elsewhere() -> Iterator[str]:
    """A web site of another origin on this machine."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title><link rel=icon href=data:,>")

        def log_message(self, *said: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{site.server_address[1]}"
        site.shutdown()
        thread.join()


def test_a_foreign_page_can_neither_read_nor_change_anything(
    served: DevServer, page: Page, complaints: list[str]
) -> None:
    served.thread()
    before = [thread["thread_id"] for thread in served.call("/threads/search", {})]
    with elsewhere() as site:
        page.goto(site)
        assert page.evaluate(CALLS, [served.url, {}]) == ["refused", "refused", "refused", "refused"]
        # Without a question first, and blind: what such a request does is done, whether or not the page may look.
        assert page.evaluate(CALLS, [served.url, {"mode": "no-cors"}])[:3] == ["refused"] * 3
    assert [thread["thread_id"] for thread in served.call("/threads/search", {})] == before != []
    assert complaints and all(said.startswith("console: ") for said in complaints)
    complaints.clear()


EMBEDS = """async (paths) => Promise.all(paths.map((path) => new Promise((done) => {
  const script = document.createElement("script");
  script.onload = () => done("loaded");
  script.onerror = () => done("refused");
  script.src = path;
  document.head.append(script);
})))"""


def test_a_foreign_page_cannot_tell_by_a_script_what_there_is(
    served: DevServer, page: Page, complaints: list[str]
) -> None:
    wire = "/brain/ui/_nicegui_ws/socket.io/?EIO=4&transport=polling&j=0"
    paths = ["/ok", "/brain/conversations/dt-001", "/brain/ui/conversations/one?id=dt-001", wire]
    with elsewhere() as site:
        page.goto(site)
        assert page.evaluate(EMBEDS, [served.url + path for path in paths]) == ["refused"] * len(paths)
        page.evaluate("url => { location = url }", f"{served.url}/brain/ui/conversations")  # a link is none
        page.get_by_text("dt-001").wait_for()
    assert complaints and all(said.startswith("console: ") for said in complaints)
    complaints.clear()


def test_a_page_of_the_server_itself_can(served: DevServer, page: Page, complaints: list[str]) -> None:
    page.goto(f"{served.url}/brain/ui/settings")
    read, made, wiped, _ = page.evaluate(CALLS, [served.url, {"headers": {"content-type": "application/json"}}])
    assert (read, made, wiped) == (200, 200, 403)
    complaints.clear()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_report_of_an_optimisation_follows_the_visitor_s_colours(page: Page, scheme: Scheme) -> None:
    page.set_content(report_page({"run_id": "r", "status": "skipped", "profile": "default", "module_results": {}}))
    colours = page.evaluate("(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))")
    ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert (ink < paper) == (scheme == "light")


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ("<script>console.error('no')</script>", "console: no"),
        ("<script>throw new Error('gone')</script>", "exception: gone"),
        ("<img src=http://192.0.2.1/x.png>", "leaves this machine: http://192.0.2.1/x.png"),
        ("<script>new WebSocket('ws://192.0.2.1/x')</script>", "leaves this machine: ws://192.0.2.1/x"),
    ],
)
def test_what_a_page_does_wrong_is_noticed(page: Page, complaints: list[str], html: str, said: str) -> None:
    page.set_content(html)
    while not complaints:
        page.wait_for_timeout(10)
    assert said in complaints
    complaints.clear()
