"""LangGraph's own conformance tests of a saver, on the gym's; part of `make prove`."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import CapabilityReport

from understudy.benchmarks.prove_ollama import Line, Trial
from understudy.checkpoints.gym_saver import GymSaver
from understudy.checkpoints.saver import open_checkpointer


async def conformance(folder: Path) -> CapabilityReport:
    """Run all tests, those of each capability in a gym of its own."""
    numbers = count()

    @checkpointer_test(name="gym")
    async def saver() -> AsyncIterator[GymSaver]:
        async with open_checkpointer(folder / f"{next(numbers)}.db") as opened:
            yield opened

    return await validate(saver)


def conforms(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Print what LangGraph's tests say of each capability; one that the saver lacks is a failure."""
    report = asyncio.run(conformance(folder))
    for name, result in report.results.items():
        found = f"{result.tests_passed} of {result.tests_passed + result.tests_failed} tests"
        yield Line(f"saver {name}", result.passed is True, "; ".join([found, *result.failures]))
    full = report.passed_all() and all(result.detected for result in report.results.values())
    yield Line("saver", full, f"conformance {report.conformance_level()}, {len(report.results)} capabilities")


TRIALS: dict[str, Trial] = {"saver": conforms}
