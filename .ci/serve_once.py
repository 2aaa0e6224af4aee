"""Start `langgraph dev` in an empty folder, let the shadow graph observe one message, and read the state back."""

import sys
import tempfile
from pathlib import Path

from understudy.benchmarks.dev_server import DevServer, langgraph_dev


def main() -> None:
    """Fail with the server's log when anything is not as it should be."""
    with tempfile.TemporaryDirectory() as folder, langgraph_dev(Path(folder)) as server:
        try:
            observe_one(server)
        except BaseException:
            sys.stderr.write(server.log[-5000:])
            raise


def observe_one(server: DevServer) -> None:
    """Post a message to a new thread and compare the answer with the thread's state."""
    thread, text = server.thread(), "Can you take my van on Friday?"
    answer = server.post(thread, input={"messages": [{"role": "user", "content": text}]})
    state = server.call(f"/threads/{thread}/state")["values"]
    assert answer["turn"] == 0 and answer["faults"] == [], answer
    assert sorted(answer["readings"]) == ["conflict", "goals", "intent", "quality", "response"], answer
    assert state["messages"][0]["content"] == text and state["decision_id"] == answer["decision_id"], state
    sys.stdout.write(f"server: one turn observed, decision {answer['decision_id']} read back\n")


if __name__ == "__main__":
    main()
