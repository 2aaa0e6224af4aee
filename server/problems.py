"""How the API says what is wrong: problem+json (RFC 9457), one line that names the cause and what to do."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from understudy.checkpoints.file import GymError
from understudy.intake import InputError, UnderstudyError, shown_error, shown_key

MEDIA_TYPE = "application/problem+json"


class Problem(UnderstudyError):
    """What a request asks for cannot be done; `status` is HTTP's."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def answer(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a problem as a response."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, headers, MEDIA_TYPE)


def add_problems(api: FastAPI) -> None:
    """Have every error of an app answered as a problem."""

    @api.exception_handler(RequestValidationError)
    async def _unfit(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(422, _first(error.errors()))

    @api.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), dict(error.headers or {}))

    @api.exception_handler(UnderstudyError)
    async def _ours(request: Request, error: UnderstudyError) -> JSONResponse:
        return answer(status_of(error), str(error))


def status_of(error: UnderstudyError) -> int:
    """Return HTTP's status for an error of ours."""
    if isinstance(error, Problem):
        return error.status
    return 422 if isinstance(error, InputError) else 503 if isinstance(error, GymError) else 409


def _first(errors: Any) -> str:
    """Say the first thing that is wrong with a request: where, what is allowed, what it is."""
    first = errors[0]
    where = ".".join(shown_key(part) for part in first["loc"])
    return f"{where}: {'is missing' if first['type'] == 'missing' else shown_error(first)}"
