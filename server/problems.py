"""How the API says what is wrong: problem+json (RFC 9457), one line that names the cause and what to do."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.checkpoints.file import GymError
from understudy.checkpoints.versioning import NoVersion
from understudy.intake import InputError, UnderstudyError, clean_text, public, shown_error, shown_key
from understudy.losing import NotObserved
from understudy.nodes.brain import NoGym
from understudy.observing import ReplayError
from understudy.optimize import NoRun
from understudy.profile import ProfileError
from understudy.settings import SettingsError

log = logging.getLogger("understudy")

MEDIA_TYPE = "application/problem+json"

_STATUS: tuple[tuple[type[UnderstudyError], int], ...] = (
    (InputError, 422),
    (ProfileError, 404),
    (NoVersion, 404),
    (NoRun, 404),
    (ReplayError, 404),
    (GymError, 503),
    (SettingsError, 503),
    (NoGym, 503),
)


class Problem(UnderstudyError):
    """What a request asks for cannot be done; `status` is HTTP's."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Caught:
    """Answers a defect of understudy with a problem that quotes nobody, and tells it in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or 500."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001  (its own message may quote a customer, and the server would log it)
            log.error("a defect of understudy, please report it: %s", public(error))
            if not begun:
                await answer(500, f"a defect of understudy, please report it: {public(error)}")(scope, receive, send)


def answer(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a problem as a response."""
    said = clean_text(detail)
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": said}
    return JSONResponse(body, status, headers, MEDIA_TYPE)


def add_problems(api: FastAPI) -> None:
    """Have every error of an app answered as a problem."""
    api.add_middleware(Caught)

    @api.exception_handler(RequestValidationError)
    async def _unfit(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(422, _first(error.errors()))

    @api.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 405:
            allowed = ", ".join(_methods(api, request.scope))
            return answer(405, f"this route takes {allowed}", {"allow": allowed})
        return answer(error.status_code, str(error.detail), dict(error.headers or {}))

    api.exception_handler(UnderstudyError)(answer_ours)


async def answer_ours(request: Request, error: UnderstudyError) -> JSONResponse:
    """Answer an error of ours with a problem."""
    return answer(status_of(error), str(error))


def status_of(error: UnderstudyError) -> int:
    """Return HTTP's status for an error of ours; 409 when the request is fine, and what there is stands against it."""
    if isinstance(error, Problem):
        return error.status
    if isinstance(error, NotObserved):
        return {"unknown": 404, "refused": 409}.get(error.reason, 503)
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 409)


def _methods(api: FastAPI, scope: Scope) -> list[str]:
    """Return the methods that a path takes; a router names those of the first of its routes only."""
    asked = {method: {**scope, "method": method} for method in ("GET", "POST")}
    return [name for name, one in asked.items() if any(r.matches(one)[0] == Match.FULL for r in api.routes)]


def _first(errors: Any) -> str:
    """Say the first thing that is wrong with a request: where, what is allowed, what it is."""
    first = errors[0]
    if isinstance(first["input"], bytes):
        return "body: must be JSON, and its content-type application/json"
    if first["type"] == "json_invalid":
        return f"body: is no JSON: {first['ctx']['error']}, at character {first['loc'][-1]}"
    where = ".".join(shown_key(part) for part in first["loc"])
    return f"{where}: {'is missing' if first['type'] == 'missing' else shown_error(first)}"
