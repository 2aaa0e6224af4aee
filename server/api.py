"""The HTTP API under /brain: what the command line does, for programs."""

from typing import Any

from fastapi import Depends, FastAPI, Request

from understudy.intake import shown_key
from understudy.server.bodies import MAX_BODY, Bounded
from understudy.server.comparing import comparing
from understudy.server.opening import opened
from understudy.server.problems import MEDIA_TYPE, Problem, add_problems
from understudy.server.reading import router as reading
from understudy.server.running import running
from understudy.server.shapes import StatusShape, Wrong
from understudy.server.telling import telling
from understudy.settings import current_settings
from understudy.status import status as look

ABOUT = f"""What `understudy` does on the command line, for programs.

What is wrong is told as problem+json. A body is JSON of at most {MAX_BODY:,} bytes; fields and query parameters that
are not named here are refused. Lists come in pages, the newest first.
"""

TAGS = {
    "look": "What there is.",
    "tell": "What happens in a conversation, and what is true of it.",
    "runs": "Learning and dreaming.",
    "versions": "What was learnt.",
    "ab": "Two versions answer the same turns, unseen.",
}

WRONG: dict[int, str] = {
    400: "The body cannot be read.",
    404: "There is no such thing.",
    409: "It cannot be done as things are.",
    413: "The body is too long.",
    422: "Something that was sent does not have its form.",
    500: "A defect of understudy.",
    503: "The gym is switched off, or its file cannot be used now.",
}


def refuse_unknown(request: Request) -> None:
    """Refuse query parameters that the route does not have: one that is misspelt would be passed over."""
    operation = api.openapi()["paths"][request.scope["route"].path_format][request.method.lower()]
    known = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    if unknown := sorted(request.query_params.keys() - known):
        there = ", ".join(sorted(known)) or "none"
        raise Problem(422, f"query.{shown_key(unknown[0])}: there is no such parameter; there are: {there}")


class Api(FastAPI):
    """An app whose OpenAPI document says of every route what it may answer when something is wrong."""

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = super().openapi()
        shape = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Wrong"}}}
        for path in document["paths"].values():
            for method, operation in path.items():
                codes = {*map(int, operation["responses"]), *((400, 413) if method == "post" else ())} & WRONG.keys()
                for code in sorted(codes):
                    operation["responses"][str(code)] = {"description": WRONG[code], "content": shape}
        return document


api = Api(
    title="understudy",
    summary="Learning safely from live customer chat.",
    description=ABOUT,
    openapi_tags=[{"name": name, "description": about} for name, about in TAGS.items()],
    docs_url=None,
    redoc_url=None,
    redirect_slashes=False,
    dependencies=[Depends(refuse_unknown)],
    generate_unique_id_function=lambda route: str(route.name),
    responses={status: {"model": Wrong} for status in (422, 500, 503)},
)
api.add_middleware(Bounded)
add_problems(api)


@api.get("/status", tags=["look"])
def status() -> StatusShape:
    """Say what the gym holds and what runs."""
    brain, _ = opened()
    return StatusShape.model_validate(look(brain))


@api.get("/settings", tags=["look"])
def settings() -> dict[str, Any]:
    """Show the settings of this process; secrets are masked."""
    return current_settings().shown()


for router in (telling, reading, running, comparing):
    api.include_router(router)
