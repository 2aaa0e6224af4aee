"""Keep the bars and log lines of DSPy and GEPA off stdout; no public option stops the bars."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import dspy.evaluate.evaluate
import dspy.utils.parallelizer
import gepa.core.engine

_parallelizer: Any = dspy.utils.parallelizer
_evaluate: Any = sys.modules["dspy.evaluate.evaluate"]  # the package has a function of that name
_engine: Any = gepa.core.engine

_lock = threading.Lock()
_runs = 0
_kept: dict[str, Any] = {}


@contextmanager
def silent() -> Iterator[None]:
    """Say nothing while any thread is in here; a host's own bars come back after it."""
    global _runs
    with _lock:
        _runs += 1
        if _runs == 1:
            _hush()
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            if _runs == 0:
                _unhush()


def _hush() -> None:
    _kept.update(parallel=_parallelizer.tqdm, evaluate=_evaluate.tqdm, engine=_engine.tqdm)
    _parallelizer.tqdm = _evaluate.tqdm = SimpleNamespace(tqdm=NoBar)
    _engine.tqdm = NoBar
    for name in ("dspy", "gepa"):
        _kept[name] = logging.getLogger(name).level
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _unhush() -> None:
    _parallelizer.tqdm, _evaluate.tqdm = _kept["parallel"], _kept["evaluate"]
    _engine.tqdm = _kept["engine"]
    for name in ("dspy", "gepa"):
        logging.getLogger(name).setLevel(_kept[name])


class NoBar:
    """A progress bar that shows nothing."""

    _instances: set[Any] = set()

    def __init__(self, *_: Any, **options: Any) -> None:
        self.n, self.total = 0, options.get("total")

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None

    @classmethod
    def write(cls, *_: Any, **__: Any) -> None:
        """Print nothing."""
