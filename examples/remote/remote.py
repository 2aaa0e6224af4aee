"""A chat app with the understudy on another machine, or in another process, behind `langgraph dev`.

    langgraph dev                                                        # where the gym is
    UNDERSTUDY_URL=http://localhost:2024 python examples/remote/remote.py

Type, or pipe lines to it. What the customer gets goes to stdout, and is the same without a server or with one that
fails. At the end it reads back what the understudy has decided, and shows that on stderr.
"""

import asyncio
import contextvars
import os
import re
import sys
from typing import Any
from uuid import uuid4

import httpx
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client

MOST_UNSENT = 200
"""Messages that are kept while the server cannot be reached; the oldest are given up."""

SECONDS = 10
"""How long to wait for the understudy when the conversation has ended."""

ANSWERS = {
    "price": ("quote_price", "A full clean is 149, inside and out."),
    "friday": ("offer_times", "Friday is free at nine and at two. Which suits you?"),
    "two": ("confirm_booking", "Two it is. See you on Friday."),
}


class Remote:
    """Shows one conversation to an understudy behind a server; nothing of it holds up the app, or fails it.

    Args:
        url: of the server.
        token: its BRAIN_API_TOKEN, None if it has none. (If it were left out, LangGraph's client would send the key of
            LangSmith, if there is one in the environment.)
    """

    def __init__(self, url: str, token: str | None) -> None:
        self.thread = str(uuid4())
        self.trouble = ""
        self._client = get_client(url=url, api_key=token)
        self._graph = RemoteGraph("shadow", client=self._client)
        self._unsent: list[dict[str, Any]] = []
        self._in_order = asyncio.Lock()
        self._posts: set[asyncio.Task[None]] = set()

    def show(self, role: str, text: str, action: str | None = None) -> None:
        """Note a message, and return at once; a message of the user is posted, with what has been said before it."""
        more = {"additional_kwargs": {"action": action}} if action else {}
        self._unsent.append({"role": role, "content": text, "id": str(uuid4()), **more})
        del self._unsent[:-MOST_UNSENT]
        if role == "user":
            self._post_later()

    async def decisions(self) -> list[dict[str, Any]]:
        """Post what is left, and return what the shadow saw, turn by turn; nothing, when not all could be posted."""
        self._post_later()
        await asyncio.wait(self._posts, timeout=SECONDS)
        if self.trouble or self._posts:
            self.trouble = self.trouble or f"no answer in {SECONDS} s"
            return []
        thread: Any = {"configurable": {"thread_id": self.thread}}
        try:
            states = [state.values async for state in self._graph.aget_state_history(thread)]
        except httpx.HTTPError as error:
            self.trouble = told(error)
            return []
        return [seen for seen in reversed(states) if seen.get("decision_id")]

    async def close(self) -> None:
        """Give up what is not posted yet, and close the connections."""
        for task in self._posts:
            task.cancel()
        await asyncio.gather(*self._posts, return_exceptions=True)
        await self._client.aclose()

    def _post_later(self) -> None:
        # In an empty context: else it would be part of the trace, and of the streams, of whatever runs here.
        task = asyncio.get_running_loop().create_task(self._post(), context=contextvars.Context())
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    async def _post(self) -> None:
        """Post what has not been posted, a turn a run; what fails is posted again, known by the messages' ids."""
        async with self._in_order:
            while self._unsent:
                turn = next((i for i, one in enumerate(self._unsent, 1) if one["role"] == "user"), len(self._unsent))
                news, self._unsent = self._unsent[:turn], self._unsent[turn:]
                try:
                    await self._client.threads.create(thread_id=self.thread, graph_id="shadow", if_exists="do_nothing")
                    run = self._client.runs.wait(self.thread, "shadow", input={"messages": news}, raise_error=False)
                    self.trouble = str(dict(await run).get("__error__", ""))
                except httpx.HTTPError as error:
                    self._unsent = news + self._unsent
                    self.trouble = told(error)
                    return


def told(error: Exception) -> str:
    """Return what went wrong, in a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


async def converse(remote: Remote | None) -> None:
    """Answer what comes on stdin, a line at a time."""
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if remote:
            remote.show("user", line)
        action, answer = next((a for word, a in ANSWERS.items() if word in line.lower()), ("greet", "How can I help?"))
        for word in re.findall(r"\s*\S+", answer):
            print(word, end="", flush=True)
            await asyncio.sleep(0.02)
        print()
        if remote:
            remote.show("assistant", answer, action)


async def tell(remote: Remote) -> None:
    """Show what the understudy has seen."""
    for seen in await remote.decisions():
        fields = {name: reading["fields"] for name, reading in seen["readings"].items()}
        intent, reply = fields.get("intent", {}).get("intent"), fields.get("response", {}).get("proposed_response")
        print(f"turn {seen['turn']}: {intent}; it would have said: {reply}", file=sys.stderr)
    if remote.trouble:
        print(f"not all was shown to the understudy: {remote.trouble}", file=sys.stderr)


async def main() -> None:
    """Converse, beside an understudy if UNDERSTUDY_URL names one."""
    url = os.environ.get("UNDERSTUDY_URL")
    remote = Remote(url, os.environ.get("BRAIN_API_TOKEN")) if url else None
    await converse(remote)
    if remote:
        await tell(remote)
        await remote.close()


if __name__ == "__main__":
    asyncio.run(main())
