"""What can go wrong between us and a model. Every fault of a turn carries the name of one of these.

The classes are DSPy's own as well, so that a program run in plain DSPy gets the error that DSPy has for the case.

Their messages go into the gym. Into a log goes what `public` says, which quotes no answer.
"""

from typing import Any

from dspy.lm15 import (
    InvalidRequestError,
    ServerError,
    TimeoutError,
    TransportError,
    UnsupportedModelError,
)
from dspy.utils.exceptions import AdapterParseError

from understudy.intake import UnderstudyError, clean_text

KEPT_TEXT = 2000
"""Characters of a useless answer that are kept with its fault."""


class ModelError(UnderstudyError):
    """Root of what can go wrong with a model.

    Attributes:
        retryable: another try may help without anybody doing anything.
        down: nobody gets an answer from this server until it is back or somebody has done something about it, so a turn
            may wait for that.
    """

    retryable = False
    down = False


class _Quoting(ModelError):
    """An error whose message quotes what a model or a server said, which may be what somebody told it."""

    @property
    def public(self) -> str:
        """Its kind, in words."""
        return f"{type(self).__name__}: {(type(self).__doc__ or '').partition('.')[0].lower()}"


# The server


class ServerRefused(TransportError, ModelError):
    """Nothing listens at the address."""

    retryable = down = True


class ServerUnknown(TransportError, ModelError):
    """The address has a name that no name server knows."""

    retryable = down = True


class ServerDown(TransportError, ModelError):
    """The server failed so often that calls are held back until it answers again."""

    down = True


class ModelMissing(UnsupportedModelError, ModelError):
    """The server does not have the model."""

    retryable = down = True


class NotOllama(ServerError, ModelError):
    """What answers is no Ollama: a page of HTML, a redirect, something that is no JSON."""

    retryable = True


class ConnectionCut(TransportError, ModelError):
    """The connection ended before the answer did."""

    retryable = True


class LoadTimeout(TimeoutError, ModelError):
    """The model was not loaded in time."""


class AnswerTimeout(TimeoutError, ModelError):
    """The answer was not there in time."""

    retryable = True


class AnswerEndless(ServerError, ModelError):
    """The answer went on beyond what it was allowed to be."""

    retryable = True


class ServerBusy(ServerError, ModelError):
    """The server has too much to do."""

    retryable = True


class ServerBroke(ServerError, ModelError):
    """The server failed, for lack of memory for instance."""

    retryable = True


class RequestRefused(InvalidRequestError, _Quoting):
    """The server does not accept the request."""


class PromptTooLong(InvalidRequestError, ModelError):
    """Instruction and message alone do not fit into the model's context."""


# The answer


class AnswerError(AdapterParseError, _Quoting):
    """An answer does not fit the signature.

    Attributes:
        text: the answer, its first KEPT_TEXT characters.
    """

    def __init__(self, reason: str, text: str, signature: Any) -> None:
        self.reason, self.text = clean_text(reason), clean_text(text[:KEPT_TEXT])
        super().__init__("AnswerAdapter", signature, self.text, self.reason)

    def __str__(self) -> str:
        return self.reason


class AnswerEmpty(AnswerError):
    """Nothing was said."""


class AnswerCut(AnswerError):
    """The answer reached the number of tokens it may have before its end."""


class NotJson(AnswerError):
    """There is no JSON object in the answer, or more than one."""


class FieldMissing(AnswerError):
    """A field is not there."""


class WrongLabel(AnswerError):
    """A field holds what is none of its labels."""


class OutOfRange(AnswerError):
    """A number is beyond its bounds."""


class WrongType(AnswerError):
    """A field holds another kind of value than it should."""
