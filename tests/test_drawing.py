"""The pictures of a test's course: they agree with the test, fit, and hold nothing that a name could smuggle in."""

import re
from itertools import accumulate
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from understudy.drawing import MOST_VERTICES, NARROW, VERDICTS, Course, Point, as_svg, in_terminal, path_of
from understudy.nodes.betting import PairedBettingTest
from understudy.tests.hostile import obeyed

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script>\"'&]]></title></svg> \x00\x1b[31m\x9b\ud800\uffff\u202e\u200b\r\n{{ 7 * 7 }} 版本"
SHIFT = [(0.0, 1.0, 0.5, -0.25, 1.0)[i % 5] for i in range(2000)]
TIES = [0.0] * 400

UNIT = st.floats(-1, 1)
POINTS = st.lists(st.builds(Point, UNIT, UNIT, UNIT), max_size=90)
COURSES = st.builds(
    Course,
    title=st.text(),
    a=st.text(),
    b=st.text(),
    points=POINTS,
    margin=st.floats(0, 1),
    verdict=st.sampled_from(list(VERDICTS)),
    decided_at=st.none() | st.integers(-1, 95),
)


def course(differences: list[float], margin: float = 0.02, title: str = "conflict", a: str = "v1.0", b: str = "v1.1"):
    test, decided_at = PairedBettingTest(0.05, margin), None
    for difference in differences:
        test.update(difference)
        if decided_at is None and test.verdict:
            decided_at = test.sample_size
    return Course(title, a, b, path_of(differences, 0.05, margin), margin, test.verdict, decided_at)


def texts(svg: str) -> list[str]:
    return ["".join(one.itertext()).strip() for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def vertices(svg: str, name: str) -> list[tuple[float, float]]:
    """Return the points of the mean (polyline) or the band (polygon)."""
    (line,) = ElementTree.fromstring(svg).iter(SVG + name)
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


def test_the_path_is_what_the_test_says_at_every_step():
    differences = SHIFT[:120] + [-1.0] * 40
    test, path = PairedBettingTest(0.1, 0.05), path_of(iter(differences), 0.1, 0.05)
    assert len(path) == len(differences)
    for count, (difference, total, point) in enumerate(zip(differences, accumulate(differences), path, strict=True), 1):
        test.update(difference)
        assert (point.lo, point.hi) == test.interval
        assert point.mean == pytest.approx(total / count, abs=1e-12)


def test_a_path_refuses_what_is_no_difference():
    with pytest.raises(ValueError, match="difference=1.5"):
        path_of([0.0, 1.5], 0.05, 0.02)


@pytest.mark.parametrize("width, height", [(40, 8), (72, 12), (80, 24), (120, 30)])
@pytest.mark.parametrize("count", [1, 2, 5, 60, 2000])
def test_the_terminal_plot_fits_and_names_its_ends(count, width, height):
    drawn = in_terminal(course(SHIFT[:count]), width, height).split("\n")
    assert len(drawn) == height and max(map(cell_len, drawn)) <= width
    assert not any(map(obeyed, drawn))
    *plot, numbers = drawn[1:-2]
    labels = [line.split("┤")[0].strip() for line in plot if "┤" in line]
    top, zero, bottom = labels
    assert re.fullmatch(r"\+\d\.\d\d", top) and zero == "0.00" and re.fullmatch(r"-\d\.\d\d", bottom)
    assert numbers.split()[0] == "1" and numbers.split()[-1] == f"{count:,}"


def test_the_terminal_plot_shows_band_mean_and_verdict():
    better = course(SHIFT[:200])
    assert better.verdict == "B"
    title, *plot, numbers, said, now = in_terminal(better).split("\n")
    assert "conflict" in title and "A: v1.0" in title and "B: v1.1" in title
    assert said == f"B is better, after {better.decided_at} conversations"
    (at,) = {line.index("│", 8) for line in plot if "│" in line[8:]}
    assert numbers[at - 1 : at + 2].strip() == str(better.decided_at)
    # From top to bottom at the right edge: above the band, the band with the mean in it, and zero below.
    assert re.fullmatch(r" *░+•░*[ ┄]*─[ ┄]*", "".join(line.ljust(72)[-1] for line in plot))
    assert f"mean {better.points[-1].mean:+.3f}" in now


def test_the_first_wide_points_do_not_flatten_the_rest():
    drawn = in_terminal(course(TIES)).split("\n")[1:-3]
    assert "↑" in drawn[0] and "↓" in drawn[-1]
    assert float(drawn[0][:6]) < 0.2


def test_ascii_is_ascii():
    drawn = in_terminal(course(SHIFT[:200], title="Größe 版本", b="v1.1 …"), ascii=True)
    assert drawn.isascii() and "#" in drawn and "." in drawn and "Gr??e" in drawn
    assert max(map(len, drawn.split("\n"))) <= 72


@pytest.mark.parametrize(
    "differences, margin, said",
    [
        ([], 0.02, "no conversation yet"),
        ([1.0], 0.02, "not decided yet, after 1 conversation"),
        (SHIFT, 0.02, "B is better, after "),
        ([-d for d in SHIFT], 0.02, "A is better, after "),
        (TIES, 0.05, "A and B are equivalent, after "),
    ],
)
def test_both_say_the_verdict_and_the_names(differences, margin, said):
    one = course(differences, margin)
    svg = as_svg(one)
    assert one.outcome.startswith(said)
    assert one.outcome in texts(svg) and one.outcome in in_terminal(one)
    assert {"conflict", "A: v1.0B: v1.1"} <= set(texts(svg))
    assert ElementTree.fromstring(svg).findtext(f"{SVG}title") == f"conflict: {one.outcome}"
    assert (f'class="mark {one.verdict}"' in svg) == (one.verdict is not None)


def test_the_svg_asks_for_nothing_and_is_small():
    svg = as_svg(course(SHIFT, title=HOSTILE, a=HOSTILE * 50, b=HOSTILE * 50))
    assert len(svg.encode()) < 40_000
    assert re.findall(r"\w+:/?/[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"href|url\(|@import|<script|<image|<foreignObject|\son\w+=|<!", svg)
    assert "(prefers-color-scheme: dark)" in svg


def test_hostile_names_are_text():
    svg = as_svg(course(SHIFT[:9], title=HOSTILE))
    tags = {one.tag.removeprefix(SVG) for one in ElementTree.fromstring(svg).iter()}
    assert tags == {"svg", "title", "desc", "style", "rect", "text", "tspan", "g", "line", "polygon", "polyline"}
    shown = "<script>alert(1)</script>\"'&]]></title></svg> \\x00\\x1b[31m\\x9b\\ud800\\uffff\\"
    assert shown + "…" in texts(svg)
    assert in_terminal(course([], title=HOSTILE), width=120).startswith(shown + "u202e")


@pytest.mark.parametrize("count", [1, 2, MOST_VERTICES, MOST_VERTICES + 1, 2000])
def test_thinning_keeps_the_ends_and_the_verdict(count):
    one = course(SHIFT[:count])
    svg = as_svg(one)
    mean, band = vertices(svg, "polyline"), vertices(svg, "polygon")
    assert max(2, min(count, MOST_VERTICES - 1)) <= len(mean) <= MOST_VERTICES and len(band) == 2 * len(mean)
    assert mean == sorted(mean, key=lambda pair: pair[0])
    (zero,) = (float(y) for y in re.findall(r'y2="([\d.]+)" class="zero"', svg))
    first, last = one.points[0], one.points[-1]
    unit = (band[-1][1] - band[0][1]) / (first.lo - first.hi)
    shown = [mean[0], band[-1], band[0], mean[-1], band[len(mean)], band[len(mean) - 1]]
    assert [y for _, y in shown] == pytest.approx([zero + unit * value for value in [*first, *last]], abs=0.2)
    assert (mean[0][0], mean[-1][0]) == (0, 632)
    if one.decided_at:
        assert re.search(r'x1="([\d.]+)".*class="mark', svg)[1] in {str(x) for x, _ in mean}


@settings(max_examples=40)
@given(COURSES, st.integers(40, 130), st.integers(8, 40), st.booleans())
@example(Course("", "", "", [Point(0, 0, 0)] * 9, 0, None, None), 40, 8, True)
@example(Course("", "", "", [Point(1, 1, -1)], 1, "A", 1), 72, 12, False)
def test_any_course_is_drawn(one, width, height, ascii):
    drawn = in_terminal(one, width, height, ascii).split("\n")
    assert len(drawn) <= height and max(map(cell_len, drawn)) <= width
    assert not any(map(obeyed, drawn))
    assert one.outcome in texts(as_svg(one))


def test_a_narrow_picture_says_the_same():
    wide, narrow = as_svg(course(SHIFT[:40])), as_svg(course(SHIFT[:40]), NARROW)
    assert ElementTree.fromstring(narrow).attrib["viewBox"] == "0 0 360 344"
    assert max(x for x, _ in vertices(narrow, "polyline")) == NARROW
    assert set(texts(narrow)) == set(texts(wide))
