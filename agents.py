"""A node by which a LangGraph agent shows the understudy what is said in it."""

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig

from understudy.embed import Understudy


def observe_node(app: Understudy) -> Callable[[Any, RunnableConfig], None]:
    """Return a node that shows `app` what is new in the state's `messages`; the conversation is the host's thread.

    It writes that to the gym's log, as every call of `app` does, and returns nothing to the host. The shadow runs
    elsewhere, in `understudy serve` or in the thread of `Understudy(worker=True)`, whose context is empty: nothing of
    it can be in the host's streams, callbacks or saver. The node is for `invoke` and for `ainvoke`, which runs it in a
    thread, since a file may not hold up an event loop. Without a thread_id, or with messages that have no id, nothing
    is written, and that is counted as `refused`.
    """

    def observe(state: Any, config: RunnableConfig) -> None:
        thread = config.get("configurable", {}).get("thread_id")
        messages = state.get("messages") if isinstance(state, Mapping) else getattr(state, "messages", None)
        app.observe_messages("" if thread is None else str(thread), messages)

    return observe
