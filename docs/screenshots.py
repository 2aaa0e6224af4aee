"""Take a picture of every page of the dashboard, light and dark: `make screenshots`; about two minutes.

python docs/screenshots.py [--into docs/screenshots] [--width 1280] [PATH ...]

The gym is that of `understudy demo`, with a dream cycle. What a page complains of is printed, and makes it fail.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from understudy.benchmarks.dev_server import langgraph_dev
from understudy.demo import run_demo
from understudy.dreaming import dream
from understudy.nodes.brain import Brain
from understudy.settings import Settings
from understudy.tests.browser.chromium import SCHEMES, chromium, open_page

PAGES = (
    "/brain/ui",
    "/brain/ui/conversations",
    "/brain/ui/review",
    "/brain/ui/versions",
    "/brain/ui/ab",
    "/brain/ui/dreams",
    "/brain/ui/jobs",
    "/brain/ui/settings",
)

INTO = Path(__file__).parent / "screenshots"

MILLISECONDS_TO_DRAW = 1000
"""For charts to come to rest."""


async def fill(folder: Path) -> None:
    """Make the gym and the programs that the pages show."""
    await run_demo(folder)
    gym, modules = folder / "brain_gym.db", folder / "optimized_modules"
    (folder / "demo_gym.db").rename(gym)
    (folder / "demo_modules").rename(modules)
    brain = Brain(Settings(rl_gym_db_path=gym, optimized_modules_dir=modules))
    await dream(brain)
    if brain.gym is not None:
        brain.gym.close()


def take(url: str, path: str, into: Path, width: int) -> list[str]:
    """Take the pictures of a page, and return what it complains of."""
    complaints: list[str] = []
    name = path.removeprefix("/brain/ui").strip("/").replace("/", "_") or "overview"
    for scheme in SCHEMES:
        with chromium() as browser, open_page(browser, complaints, scheme) as page:
            page.set_viewport_size({"width": width, "height": 800})
            answer = page.goto(url + path)
            if answer is None or not answer.ok:
                return [f"{path}: {answer.status if answer else 'no answer'}"]
            page.wait_for_timeout(MILLISECONDS_TO_DRAW)
            page.screenshot(path=into / f"{name}_{scheme}.png", full_page=True)
    return [f"{path}: {said}" for said in complaints]


def main() -> int:
    """Return 1 if a page cannot be seen, or complains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=PAGES)
    parser.add_argument("--into", type=Path, default=INTO)
    parser.add_argument("--width", type=int, default=1280)
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(fill(folder))
        with langgraph_dev(folder, SCHEDULER_ENABLED="false") as server:
            wrong = [said for path in asked.paths for said in take(server.url, path, asked.into, asked.width)]
    for said in wrong:
        sys.stderr.write(f"{said}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
