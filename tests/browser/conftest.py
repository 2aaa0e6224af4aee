"""A server with a gym for all tests, a browser for each file of them, and a page for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from understudy.benchmarks.dev_server import DevServer, langgraph_dev
from understudy.tests.browser.chromium import CHROMIUM, Scheme, chromium, off_the_loop, open_page
from understudy.tests.gyms import bundled, observing


@pytest.fixture(scope="session")
def program() -> str:
    """Where Chromium is."""
    if CHROMIUM is None:
        pytest.skip("chromium is not on the path: nothing is looked at in a browser")
    return CHROMIUM


@pytest.fixture(scope="module")
def browser(program: str) -> Iterator[Browser]:
    """Chromium, for the tests of one file: after them this thread may run an event loop again."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the pages of a test complained of. A test that expects some looks at them and takes them out."""
    found: list[str] = []
    yield found
    assert found == []


@pytest.fixture
def scheme() -> Scheme:
    """What the visitor prefers; `@pytest.mark.parametrize("scheme", SCHEMES)` tries both."""
    return "light"


@pytest.fixture
def page(browser: Browser, complaints: list[str], scheme: Scheme) -> Iterator[Page]:
    """An empty page; the test fails on what it complains of."""
    with open_page(browser, complaints, scheme) as page:
        yield page


@pytest.fixture(scope="session")
def served(program: str, kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """`langgraph dev` with a gym of twelve conversations that nobody has labelled; it starts nothing by itself.

    Tests write to the gym, and none may count on what it held before but for those conversations.
    """
    folder = tmp_path_factory.mktemp("served")
    talks = bundled(12)
    for message in (message for talk in talks for message in talk["messages"]):
        message.pop("labels", None)

    def prepare() -> None:
        brain = observing(kept)(talks, rl_gym_db_path=folder / "brain_gym.db")
        if brain.gym is not None:
            brain.gym.close()

    off_the_loop(prepare)
    with langgraph_dev(folder, SCHEDULER_ENABLED="false") as server:
        yield server
