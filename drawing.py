"""The course of an A/B test as a picture: for a terminal, and as SVG for a page or a chat.

Both show the mean difference of the scores, B minus A, after each conversation, and the interval where the true one
lies: B is better where all of it is above zero, and the two are equivalent where all of it is inside the margin.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from rich.cells import cell_len, set_cell_size

from understudy.checkpoints.gym import Gym
from understudy.nodes.ab_life import LEAST_CONVERSATIONS
from understudy.nodes.betting import PairedBettingTest
from understudy.showing import printable

VERDICTS = {"A": "A is better", "B": "B is better", "equivalent": "A and B are equivalent", None: "not decided yet"}

MOST_VERTICES = 300
LEAST_REACH = 0.05
"""The y axis goes at least that far to either side of zero, so that labels with two digits stay apart."""

LONGEST_TITLE, LONGEST_NAME = 76, 40
"""In columns of a terminal; in the SVG one is about 8 pixels wide."""

WIDTH, HEIGHT = 632, 172
"""Of the SVG's plot without title, labels and legend, in pixels."""
NARROW = 272
"""Width of the plot for phones, where a smaller picture could not be read."""

ASCII = str.maketrans("░•─┄│┤↑↓…", ".#-+|+^v~")


class Point(NamedTuple):
    """Mean difference after a conversation, and the ends of its interval; all in [-1, 1]."""

    mean: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Course:
    """An A/B test so far: a point a conversation, in order, and after how many the verdict came."""

    title: str
    a: str
    b: str
    points: Sequence[Point]
    margin: float
    verdict: str | None
    """A key of VERDICTS."""
    decided_at: int | None

    @property
    def mark(self) -> int | None:
        """The index of the point where the verdict came; None if there is none to show."""
        at = self.decided_at or 0
        return at - 1 if self.verdict and 1 <= at <= len(self.points) else None

    @property
    def outcome(self) -> str:
        """The verdict in words."""
        if not self.points:
            return "no conversation yet"
        count = len(self.points) if self.mark is None else self.mark + 1
        return f"{VERDICTS[self.verdict]}, after {count:,} conversation{'s' * (count != 1)}"


def path_of(differences: Iterable[float], alpha: float, margin: float) -> list[Point]:
    """Return what the betting test says after each difference B - A.

    Raises:
        ValueError: alpha, margin or a difference is out of its range.
    """
    test, total, points = PairedBettingTest(alpha, margin), 0.0, []
    for difference in differences:
        test.update(difference)
        total += difference
        points.append(Point(total / test.sample_size, *test.interval))
    return points


def course_of(gym: Gym, found: Mapping[str, Any]) -> Course:
    """Return the course of a test of the gym; `found` is what `understudy.nodes.ab_life.statistics` says of it."""
    differences = [b - a for a, b in gym.trials.course(found["test"])]
    margin = float(found["margin"])
    points = path_of(differences, found["alpha"], margin)
    least = min(LEAST_CONVERSATIONS, found["max_sample_size"])  # before that a test is not decided
    ends = [(i, point.lo, point.hi) for i, point in enumerate(points, 1) if i >= least]
    decided_at = next((i for i, lo, hi in ends if lo > 0 or hi < 0 or -margin < lo <= hi < margin), None)
    title, verdict = str(found["module"] or found["test"]), found["verdict"] if ends else None
    return Course(title, found["variant_a"], found["variant_b"], points, margin, verdict, decided_at)


def in_terminal(course: Course, width: int = 72, height: int = 12, ascii: bool = False) -> str:
    """Draw with characters, in at most so many columns and lines, though 40 x 8 at least.

    An arrow tells that the band goes on beyond the edge. In ASCII, what else a name holds becomes a question mark.
    """
    width, height = max(width, 40), max(height, 8)
    names = f" (A: {_plain(course.a, width // 4)}, B: {_plain(course.b, width // 4)})"
    head, outcome = _plain(course.title, width - cell_len(names)) + names, _plain(course.outcome, width)
    lines = [head, outcome]
    if course.points:
        mean, lo, hi = course.points[-1]
        now = f"• mean {mean:+.3f}, ░ from {lo:+.3f} to {hi:+.3f}, ─ zero, ┄ margin {course.margin:.2g}"
        lines = [head, *_rows(course, width - 8, height - 4), outcome, _plain(now, width)]
    text = "\n".join(line.rstrip() for line in lines)
    return text.translate(ASCII).encode("ascii", "replace").decode() if ascii else text


def _rows(course: Course, columns: int, rows: int) -> list[str]:
    """Draw the plot, a y label before each row that has one, and the numbers of conversations below."""
    last = len(course.points) - 1
    bottom, top = _shown(course)

    def row(value: float) -> int:
        return round((top - value) / (top - bottom) * (rows - 1))

    lines = {row(course.margin): "┄", row(-course.margin): "┄", row(0): "─"}
    mark = None if course.mark is None else round(course.mark / max(last, 1) * (columns - 1))
    drawn = []
    for column in range(columns):
        point = course.points[round(column / (columns - 1) * last)]
        cells = [lines.get(r, "│" if column == mark else " ") for r in range(rows)]
        for r in range(max(row(point.hi), 0), min(row(point.lo), rows - 1) + 1):
            # A line shows through the band as every second character.
            if cells[r] == " " or (r in lines and column % 2):
                cells[r] = "░"
        cells[0] = "↑" if row(point.hi) < 0 else cells[0]
        cells[-1] = "↓" if row(point.lo) >= rows else cells[-1]
        if 0 <= row(point.mean) < rows:
            cells[row(point.mean)] = "•"
        drawn.append(cells)
    labels = {row(0): "0.00", 0: f"{top:+.2f}", rows - 1: f"{bottom:+.2f}"}
    edges = [f"{labels.get(r, ''):>6} {'┤' if r in labels else '│'}" for r in range(rows)]
    plot = [edge + "".join(cells) for edge, cells in zip(edges, zip(*drawn, strict=True), strict=True)]
    return [*plot, " " * 8 + _numbers(columns, last + 1, mark, f"{course.decided_at:,}" if course.decided_at else "")]


def _numbers(columns: int, count: int, mark: int | None, decided: str) -> str:
    """Write 1 and the number of conversations at the ends, and the verdict's below its mark if there is room."""
    end = f"{count:,}" if count > 1 else ""
    start = (mark or 0) - len(decided) // 2
    fits = 3 <= start <= columns - len(end) - len(decided) - 2
    numbers = f"{'1':<{start}}{decided}" if fits else "1"
    return f"{numbers}{end:>{columns - len(numbers)}}"


def as_svg(course: Course, width: int = WIDTH) -> str:
    """Draw a standalone SVG picture of 720 x 320, for light and dark; it asks for nothing and runs nothing.

    Args:
        course: what is drawn.
        width: of its plot, in pixels; the picture is 88 wider, and 344 high if that is NARROW.
    """
    part = width / WIDTH
    a, b = (_plain(name, round(LONGEST_NAME * part)) for name in (course.a, course.b))
    title = _plain(course.title, round(LONGEST_TITLE * part))
    names = {"a": a, "b": b, "title": title, "outcome": course.outcome, "width": width, "is_narrow": width <= NARROW}
    if not course.points:
        return _template().render(names, points=[])
    last = len(course.points) - 1
    bottom, top = _shown(course)

    def x(index: float) -> float:
        return round(index / max(last, 1) * width, 1)

    def y(value: float) -> float:
        return round((top - value) / (top - bottom) * HEIGHT, 1)

    points = [(x(i), course.points[i]) for i in _thinned(last, course.mark)]
    points += [(width, course.points[0])] if not last else []  # one point alone is a flat line
    step = max(1, _step(last + 1))
    between = [n for n in range(int(step), last + 1, int(step)) if min(n - 1, last + 1 - n) > step / 2]
    gap = _step(top - bottom)
    heights = [n * gap for n in range(math.ceil(bottom / gap - 1e-9), math.floor(top / gap + 1e-9) + 1)]
    return _template().render(
        names,
        points=course.points,
        verdict=course.verdict,
        mark=None if course.mark is None else x(course.mark),
        margin=course.margin,
        zone=(y(course.margin), y(-course.margin)),
        mean=[(x, y(point.mean)) for x, point in points],
        band=[(x, y(point.hi)) for x, point in points] + [(x, y(point.lo)) for x, point in reversed(points)],
        x_ticks=[(x(n - 1), f"{n:,}") for n in sorted({1, *between, last + 1})],
        y_ticks=[(y(value), f"{value:+.2f}" if round(value, 2) else "0") for value in heights],
        zero=y(0),
        height=HEIGHT,
    )


def _thinned(last: int, mark: int | None) -> list[int]:
    """Return which points are drawn: the ends, the verdict's, and as many between as the eye can tell apart."""
    most = MOST_VERTICES - 1
    even = range(last + 1) if last < most else (round(i / (most - 1) * last) for i in range(most))
    return sorted({*even, last if mark is None else mark})


def _shown(course: Course) -> tuple[float, float]:
    """Return the ends of the y axis, to two digits; what only the first points need, whose band is wide, is cut off."""
    settled = course.points[len(course.points) // 5 :]
    values = [value for point in settled for value in point]
    high = max(course.margin, LEAST_REACH, *values)
    low = min(-course.margin, -LEAST_REACH, *values)
    # Zero stays off the edge.
    high, low = max(high, -low / 5), min(low, -high / 5)
    return max(-1.0, math.floor(low * 105) / 100), min(1.0, math.ceil(high * 105) / 100)


def _step(span: float) -> float:
    """Return a round distance that makes about five ticks, seven at most between the ends."""
    unit = float(10 ** math.floor(math.log10(span / 7)))
    return next(unit * n for n in (1, 2, 5, 10) if unit * n >= span / 7)


def _plain(text: str, longest: int) -> str:
    """Return a text in one line of so many columns; what is obeyed, or XML cannot hold, is written out."""
    clean = printable(" ".join(text[: 9 * longest].split()))
    return clean if cell_len(clean) <= longest else set_cell_size(clean, longest - 1) + "…"


@cache
def _template() -> Template:
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("confidence.svg")
