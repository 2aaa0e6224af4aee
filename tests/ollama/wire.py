"""The server's socket: connections, chunks, and the faults that happen there."""

import json
import math
import select
import socket
import socketserver
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from understudy.tests.ollama.faults import WIRE_FAULTS
from understudy.tests.ollama.requests import Refused

DRIP_SECONDS = 0.05
HTML = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>\n"
GARBAGE = b"\x00\xff<<< no json >>>\n"
MID_ERROR = "an error was encountered while running the model"
BUSY = "server busy, please try again.  maximum pending requests exceeded"
NO_MEMORY = "model requires more system memory (9.6 GiB) than is available (3.1 GiB)"


@dataclass
class Seen:
    """A request as it arrived, and the fault that was played on it.

    The body is the parsed JSON, None if there was none, a ValueError if it was no JSON; `at` is monotonic seconds.
    """

    method: str
    path: str
    body: Any
    at: float
    fault: str | None = None


class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: Any, port: int) -> None:
        self.owner = owner
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Call)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        # No shutdown() first: a connection to be reset must not say goodbye.
        self.close_request(request)
        self.open.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if error and not isinstance(error, OSError):
            self.owner.crashes.append(error)

    def end(self) -> None:
        """Stop listening and cut every connection; a thread that hangs in a reply is left behind."""
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + 0.5
        while self.open and time.monotonic() < end:
            time.sleep(0.002)


class Call(BaseHTTPRequestHandler):
    """One connection; its requests are answered one after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Listener
    fault: str | None = None

    def _serve(self) -> None:
        owner = self.server.owner
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        seen = Seen(self.command, path, decoded(raw), time.monotonic(), owner.draw(path))
        owner.requests.append(seen)
        try:
            with owner.counted(path):
                owner.answer(self, seen)
        except Refused as no:
            self.fault = None
            self.send_json({"error": str(no)}, no.status)
        except OSError:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def wait(self, seconds: float) -> None:
        """Wait; ConnectionAbortedError as soon as the client leaves or the server stops."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if select.select([self.connection], [], [], max(0.0, min(left, 1.0)))[0]:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    raise ConnectionAbortedError
                time.sleep(max(0.0, min(left, 0.01)))
            if left <= 0:
                return

    def send_json(self, value: Any, status: int = 200) -> None:
        self.send(status, [line(value)], "application/json; charset=utf-8")

    def send(self, status: int, pieces: Sequence[bytes], kind: str, headers: dict[str, str] | None = None) -> None:
        """Send an answer whole or, if it is a stream, in chunks, with the fault of this call on the wire."""
        fault = self.fault if self.fault in WIRE_FAULTS else None
        streams = kind == "application/x-ndjson"
        if fault == "error_mid" and not streams:
            raise Refused(500, MID_ERROR)
        if fault and len(pieces) == 1:
            middle = len(pieces[0]) // 2
            pieces = [pieces[0][:middle], pieces[0][middle:]]
        half = len(pieces) // 2
        changed = {
            "garbage": [*pieces[:half], GARBAGE, *pieces[half:]],
            "no_done": pieces[:-1],
            "error_mid": [*pieces[:half], line({"error": MID_ERROR})],
        }
        pieces = changed.get(fault or "", pieces)
        chunked = streams or fault == "endless"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        length = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(sum(map(len, pieces))))
        self.send_header(*length)
        self.end_headers()
        if self.command != "HEAD":
            frame = chunk if chunked else bytes
            self._play_wire(fault, pieces, half, frame)
            self.wfile.write(chunk(b"") if chunked and not self.close_connection else b"")
        self.wfile.flush()

    def _play_wire(self, fault: str | None, pieces: Sequence[bytes], half: int, frame: Callable[..., bytes]) -> None:
        if fault == "drip":
            for byte in b"".join(pieces):
                self._write(frame(bytes([byte])))
                self.wait(DRIP_SECONDS)
        elif fault in ("hang_mid", "cut", "endless"):
            self._write(b"".join(map(frame, pieces[:half])))
            more = frame(pieces[half - 1] * 16 if len(pieces) > 2 else b" " * 4096)
            while fault == "endless":
                self._write(more)
            if fault == "hang_mid":
                self.wait(math.inf)
            self.close_connection = True
        else:
            self.wfile.write(b"".join(map(frame, pieces)))

    def _write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def play_early(self, fault: str, body: Any) -> None:
        """Play a fault instead of the answer."""
        name = body.get("model", "") if isinstance(body, dict) else ""
        errors = {"500": NO_MEMORY, "503": BUSY, "429": "too many requests", "404": f"model '{name}' not found"}
        page = HTML.format("502 Bad Gateway" if fault == "502" else "Welcome").encode()
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif fault == "hang":
            self.wait(math.inf)
        elif fault in errors:
            self.send(
                int(fault),
                [line({"error": errors[fault]})],
                "application/json; charset=utf-8",
                {"Retry-After": "1"} if fault == "429" else None,
            )
        elif fault == "redirect":
            self.send(302, [b""], "text/html", {"Location": "/elsewhere"})
        elif fault == "empty_body":
            self.send(200, [b""], "application/json; charset=utf-8")
        else:
            self.send(502 if fault == "502" else 200, [page], "text/html")


def decoded(raw: bytes) -> Any:
    """Return a JSON body, None if there is none, or the ValueError that says what Go's decoder would."""
    text = raw.decode(errors="replace")
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].lstrip()
        if not rest or error.msg.startswith("Unterminated"):
            return ValueError("unexpected EOF")
        return ValueError(f"invalid character '{rest[0]}' looking for beginning of value")
    except (ValueError, RecursionError) as error:
        return ValueError(str(error))


def _no_constant(name: str) -> None:
    raise ValueError(f"invalid character '{name[0]}' looking for beginning of value")


def line(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n").encode(errors="replace")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
