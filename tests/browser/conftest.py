"""A server with a gym for each file of tests, and a page in a browser for each test."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from understudy.benchmarks.dev_server import DevServer, langgraph_dev
from understudy.tests.browser.chromium import CHROMIUM, Scheme, chromium, open_page
from understudy.tests.gyms import observing


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for the tests of one file."""
    if CHROMIUM is None:
        pytest.skip("chromium is not on the path: nothing is looked at in a browser")
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


@pytest.fixture(scope="module")
def talks() -> int:
    """How many of the bundled conversations the gym of the file's server holds; a file may say otherwise."""
    return 12


@pytest.fixture(scope="module")
def served(browser: Browser, talks: int, kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """`langgraph dev` with a gym that holds conversations; its scheduler starts nothing by itself."""
    folder = tmp_path_factory.mktemp("served")

    def prepare() -> None:
        brain = observing(kept)(talks, rl_gym_db_path=folder / "brain_gym.db")
        if brain.gym is not None:
            brain.gym.close()

    with ThreadPoolExecutor(1) as thread:  # this one has the browser's event loop
        thread.submit(prepare).result()
    with langgraph_dev(folder, SCHEDULER_ENABLED="false") as server:
        yield server
