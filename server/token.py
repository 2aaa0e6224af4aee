"""What proves that a caller may call: BRAIN_API_TOKEN itself, or a session that is signed with it.

A browser holds the session as a cookie, `expiry.HMAC-SHA256(token, expiry)`: nothing of the token is in it, nothing is
kept of it here, and another token ends all sessions.
"""

import hashlib
import hmac
import time

from starlette.requests import HTTPConnection

from understudy.settings import current_settings

SESSION = "understudy_session"
"""The cookie's name."""

SESSION_SECONDS = 12 * 3600


def needed_token() -> str | None:
    """Return what callers must have; None: nothing."""
    token = current_settings().brain_api_token
    return None if token is None else token.get_secret_value()


def proves(call: HTTPConnection, token: str) -> bool:
    """Tell whether a request carries the token (`Authorization: Bearer`, or `x-api-key`) or a session."""
    said = call.headers.getlist("x-api-key")
    for value in call.headers.getlist("authorization"):
        scheme, _, credentials = value.partition(" ")
        if scheme.lower() == "bearer":
            said.append(credentials.strip())
    return any(same(value, token) for value in said) or _is_session(call.cookies.get(SESSION, ""), token)


def same(said: str, token: str) -> bool:
    """Compare, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(said.encode(), token.encode())


def new_session(token: str) -> str:
    """Return a session that ends in SESSION_SECONDS."""
    until = str(int(time.time()) + SESSION_SECONDS)
    return f"{until}.{_sign(until, token)}"


def _is_session(cookie: str, token: str) -> bool:
    until, _, signature = cookie.partition(".")
    return same(signature, _sign(until, token)) and int(until) > time.time()


def _sign(until: str, token: str) -> str:
    return hmac.new(token.encode(), f"session until {until}".encode(), hashlib.sha256).hexdigest()
