"""Take a picture of every page of the dashboard, light and dark: `make screenshots`; about two minutes.

python docs/screenshots.py [--into docs/screenshots] [--width 1280] [PAGE ...]

The gym is that of `understudy demo`, with a dream cycle and with conversations that nobody has labelled. What a page
complains of is printed, and makes it fail. The pictures have 256 colours and end after some screens.
"""

import argparse
import asyncio
import base64
import json
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

from playwright.sync_api import Browser

from understudy.benchmarks.dev_server import langgraph_dev
from understudy.checkpoints.gym import Gym
from understudy.demo import BUNDLED, run_demo
from understudy.dreaming import dream
from understudy.embed import Understudy
from understudy.nodes.brain import Brain, gym_of
from understudy.settings import Settings
from understudy.tests.browser.chromium import SCHEMES, chromium, open_page

UI = "/brain/ui"
PAGES = {
    "overview": UI,
    "conversations": f"{UI}/conversations",
    "conversation": f"{UI}/conversations/one?id=dt-180",
    "review": f"{UI}/review",
    "versions": f"{UI}/versions",
    "compared": f"{UI}/versions/goals",
    "ab": f"{UI}/ab",
    "dreams": f"{UI}/dreams",
    "jobs": f"{UI}/jobs",
    "settings": f"{UI}/settings",
    "login": "/brain/login",
}
"""What is taken, by the name of its picture; the log-in page only where a token is set."""

INTO = Path(__file__).parent / "screenshots"

TALLEST = 1600
"""Pixels of a picture."""

GOING_ON = 7
"""Conversations that nobody has labelled."""

MILLISECONDS_TO_DRAW = 500
"""For charts to come to rest."""

COUNT_COLOURS = """async (png) => {
  const found = await (await fetch("data:image/png;base64," + png)).blob();
  const image = await createImageBitmap(found);
  const canvas = new OffscreenCanvas(image.width, image.height);
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const {data} = pen.getImageData(0, 0, image.width, image.height);
  const pixels = new Uint32Array(data.buffer), counts = new Map(), numbers = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const split = (pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255];
  const worth = (pixel) => {  // a line in colour is worth more than the edges of letters
    const rgb = split(pixel);
    return counts.get(pixel) * (1 + Math.max(...rgb) - Math.min(...rgb));
  };
  const palette = [...counts.keys()].sort((a, b) => worth(b) - worth(a)).slice(0, 256).map(split);
  for (const pixel of counts.keys()) {
    const [r, g, b] = split(pixel);
    const far = palette.map((one) => Math.abs(one[0] - r) + Math.abs(one[1] - g) + Math.abs(one[2] - b));
    numbers.set(pixel, far.indexOf(Math.min(...far)));
  }
  const rows = new Uint8Array((image.width + 1) * image.height);  // each begins with its filter, which is none
  pixels.forEach((pixel, at) => { rows[at + Math.floor(at / image.width) + 1] = numbers.get(pixel); });
  let text = "";
  for (let i = 0; i < rows.length; i += 30000) text += String.fromCharCode(...rows.subarray(i, i + 30000));
  return [image.width, image.height, palette, btoa(text)];
}"""
"""What a browser makes of a picture: its size, 256 of its colours, and the rows in numbers of these."""


async def fill(folder: Path) -> None:
    """Make the gym and the programs that the pages show."""
    await run_demo(folder)
    gym, modules = folder / "brain_gym.db", folder / "optimized_modules"
    (folder / "demo_gym.db").rename(gym)
    (folder / "demo_modules").rename(modules)
    brain = Brain(Settings(rl_gym_db_path=gym, optimized_modules_dir=modules))
    await dream(brain)
    with Understudy(brain.settings, worker=True) as app:
        chat(app, gym_of(brain))
    gym_of(brain).close()


def chat(app: Understudy, gym: Gym) -> None:
    """Show conversations that go on, and that nobody has labelled; return when they are read."""
    for talk in map(json.loads, BUNDLED.read_text(encoding="utf-8").splitlines()[:GOING_ON]):
        name = talk["conversation_id"].replace("dt", "chat")
        for message in talk["messages"]:
            if message["role"] == "customer":
                app.observe(name, message["text"])
            else:
                app.replied(name, message["text"], action=message.get("action"))
    while gym.counts()["backlog"]:
        time.sleep(0.1)


def take(url: str, path: str, into: Path, width: int) -> list[str]:
    """Take the pictures of a page, and return what it complains of; `into` is a file's name before the scheme."""
    complaints: list[str] = []
    with chromium() as browser:
        for scheme in SCHEMES:
            with open_page(browser, complaints, scheme) as page:
                page.set_viewport_size({"width": width, "height": 800})
                answer = page.goto(url + path)
                if answer is None or not answer.ok:
                    return [f"{path}: {answer.status if answer else 'no answer'}"]
                page.wait_for_timeout(MILLISECONDS_TO_DRAW)
                height = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
                png = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
            into.with_name(f"{into.name}_{scheme}.png").write_bytes(smaller(browser, png))
    return [f"{path}: {said}" for said in complaints]


def smaller(browser: Browser, png: bytes) -> bytes:
    """Return a picture with 256 colours at most."""
    with browser.new_context() as context:
        found = context.new_page().evaluate(COUNT_COLOURS, base64.b64encode(png).decode())
    width, height, colours, rows = found
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0),
        b"PLTE": bytes(value for colour in colours for value in colour),
        b"IDAT": zlib.compress(base64.b64decode(rows), 9),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts.items()
    )
    return png[:8] + b"".join(chunks)


def main() -> int:
    """Return 1 if a page cannot be seen, or complains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[], metavar="PAGE", help=", ".join(PAGES))
    parser.add_argument("--into", type=Path, default=INTO)
    parser.add_argument("--width", type=int, default=1280)
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in PAGES]:
        parser.error(f"no page {unknown[0]!r}; there are {', '.join(PAGES)}")
    wanted = {name: path for name, path in PAGES.items() if not asked.names or name in asked.names}
    asked.into.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(fill(folder))
        login = {"login": wanted.pop("login")} if "login" in wanted else {}
        # The scheduler has nothing to do for as long as this takes.
        quiet = {"RL_GYM_OPTIMIZE_INTERVAL": "2000"}
        for pages, settings in ((wanted, quiet), (login, {"BRAIN_API_TOKEN": "a-token-for-this-picture-only"})):
            if pages:
                with langgraph_dev(folder, **settings) as server:
                    for file, path in pages.items():
                        wrong += take(server.url, path, asked.into / file, asked.width)
    for said in wrong:
        sys.stderr.write(f"{said}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
