"""What MLflow answers when it does not take something, and the settings under which it is asked."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

from study.tracking.server import QUIET, public
from trainables.environment import environment, past_proxies

SECONDS = 10
"""Time a request may take, unless MLFLOW_HTTP_REQUEST_TIMEOUT says otherwise."""

REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
"""MLflow's codes for what would be refused again."""


def settings(seconds: int = SECONDS) -> AbstractContextManager[None]:
    """MLflow's settings, which it reads at every request from the environment: to hold while a `Mirror` is used.

    `seconds` is the time a request may take, where the user's own environment names none.
    """
    usual = {**QUIET, "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds)}
    ours = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
    return environment({name: os.environ.get(name, value) for name, value in usual.items()} | ours | past_proxies())


def is_lost(error: BaseException) -> bool:
    """Whether MLflow no longer has what it had."""
    return _code(error) == "RESOURCE_DOES_NOT_EXIST"


def is_refused(error: BaseException) -> bool:
    """Whether it is about this one run, and not about MLflow being reached."""
    code = _code(error)
    return code in REFUSALS if code is not None else not isinstance(error, OSError)


def _code(error: BaseException) -> str | None:
    return getattr(error, "error_code", None)


def reason(error: BaseException, uri: str) -> str:
    """Why MLflow did not take something, as a clause whose subject is MLflow."""
    text = str(error)
    host = urlsplit(uri).hostname or ""
    status = re.search(r"error code (\d{3})|too many (\d{3}) error responses", text)
    number = next((n for n in status.groups() if n), "") if status else ""
    if "Invalid Host header" in text or number == "403":
        return f"answers 403, forbidden: if it does not know its own name, start it with --allowed-hosts {host}"
    if number == "401":
        return "answers 401, unauthorized: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if number:
        return f"answers {number}"
    if "timed out" in text or "timeout" in text:
        return f"does not answer within {os.environ.get('MLFLOW_HTTP_REQUEST_TIMEOUT', SECONDS)} s"
    if "Connection refused" in text:
        return "is not there (connection refused)"
    if "Failed to resolve" in text or "Name or service not known" in text:
        return "has no such host"
    first = text.strip().partition("\n")[0] or type(error).__name__
    return first if isinstance(error, OSError) else f"fails: {public(first)[:200]}"
