"""The second lock: LangGraph's own question before its routes, and before ours, who calls.

guard.py has then asked the same already. This one also holds where a route is reached in another way than through the
app, and keeps LangGraph from letting `x-auth-scheme: langsmith` pass.
"""

from langgraph_sdk import Auth
from starlette.requests import HTTPConnection

from understudy.server.guard import LOGIN
from understudy.server.token import needed_token, proves

auth = Auth()


@auth.authenticate
async def admit(path: str, headers: dict[bytes, bytes]) -> str:
    """Return the name under which LangGraph knows the caller, or answer 401. Not asked of calls inside the process."""
    token = needed_token()
    call = HTTPConnection({"type": "http", "headers": list(headers.items())})
    if token is None or path == LOGIN or proves(call, token):
        return "caller"
    raise Auth.exceptions.HTTPException(401, "BRAIN_API_TOKEN is needed")
