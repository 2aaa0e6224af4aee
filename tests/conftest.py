"""What the tests share: a working directory of their own, no settings from outside, a small conversation."""

import gc
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from understudy.lm.roles import get_lm
from understudy.lm.server import server_at
from understudy.nodes.brain import Brain, own_brain
from understudy.settings import Settings, current_settings
from understudy.tests.gyms import Observed, observing
from understudy.tests.ollama.server import OllamaServer

hypothesis.settings.register_profile("calm", deadline=None)  # how fast this machine is just now is no test
hypothesis.settings.load_profile("calm")

REMEMBERED = (current_settings, own_brain, get_lm, server_at)
LONGEST = (
    "test_conversations.py", "test_cli.py", "test_dev.py", "test_optimization.py", "test_dream.py", "test_ollama.py",
    "test_serve.py", "test_ab_test.py", "test_shadow.py", "test_api.py", "test_nothing_leaves.py", "test_dashboard.py",
    "test_token.py",
)  # fmt: skip
BROWSER = "tests/browser/"
DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that at the end no worker is left alone with one."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Give the files that share a server to the same worker, and else each file to one."""

    class ByServer(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return BROWSER if BROWSER in nodeid else str(super()._split_scope(nodeid))

    return ByServer(config, log)


def pytest_configure() -> None:
    """Look for garbage seldom, and after collecting not in what is imported: that takes a sixth of the tests' time."""
    gc.set_threshold(20_000, 20, 50)


def pytest_collection_finish() -> None:
    """Leave what is imported to itself."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once what was not tested, and why."""
    why = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, count in why.items():
        terminalreporter.write_line(f"{count} not run: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run in an empty folder, with the defaults."""
    for name in os.environ:
        if name.lower() in Settings.model_fields or name.startswith(("LANGSMITH_", "LANGCHAIN_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for remembered in REMEMBERED:
        remembered.cache_clear()
    yield tmp_path
    for remembered in REMEMBERED:
        remembered.cache_clear()


@pytest.fixture
def ollama(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaServer]:
    """A model server that answers as the embedded engine does, and the settings that name it."""
    with OllamaServer() as server:
        monkeypatch.setenv("LM_PROVIDER", "ollama")
        monkeypatch.setenv("OLLAMA_BASE_URL", server.url)
        yield server
    assert (server.crashes, server.warnings, server.truncated) == ([], [], [])


@pytest.fixture
def brain(home: Path) -> Iterator[Brain]:
    """A brain with its gym in the empty folder."""
    brain = Brain(Settings())
    yield brain
    if brain.gym:
        brain.gym.close()


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run of the tests that its workers share."""
    folder = tmp_path_factory.getbasetemp()
    kept = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "kept"
    kept.mkdir(exist_ok=True)
    return kept


@pytest.fixture
def observed(home: Path, kept: Path) -> Observed:
    """What gives a brain whose gym, in the empty folder, holds conversations."""
    return observing(kept)


@pytest.fixture
def data() -> Path:
    """Real conversations, where this machine has them."""
    if not DATA.is_dir():
        pytest.skip("the real conversations are not on this machine")
    return DATA
