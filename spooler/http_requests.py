"""Requests on the wire: waitress's parser and channel, made as strict as a receiver of webhooks can be.

Owns: what counts as valid HTTP beyond waitress's own checks, how long a request may take to come in, and
that every connection serves one request.
Promises: a request that two parsers could read differently is refused; a number of any length is an answer
and no traceback. Errors of HTTP are answered with the texts of `spooler.answers`.
Does not promise: to work with another waitress than 3.0: it relies on that version's inner parts.
"""

import time
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.task import ErrorTask, WSGITask

from spooler.answers import CONTENT_TYPE, Answer
from spooler.log import get_logger
from spooler.receiver import BEGUN


class _Parser(HTTPRequestParser):  # type: ignore[misc] # waitress ships no types
    """A request as it comes in; `begun` is when its first byte came (monotonic seconds)."""

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.begun = time.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        lines = header_plus.lower().split(b"\r\n")
        encodings = [line for line in lines if line.startswith(b"transfer-encoding:")]
        lengths = [line for line in lines if line.startswith(b"content-length:")]
        # TRUST: a proxy in front may pick another of two answers to "where does the body end".
        if len(encodings) + len(lengths) > 1:
            raise ParsingError("the end of the body is told twice")
        try:
            super().parse_header(header_plus)
        except TransferEncodingNotImplemented as error:
            raise ParsingError(*error.args) from None
        except ValueError as error:  # a length of thousands of digits, a broken URL
            raise ParsingError(str(error)) from None
        if encodings and not self.chunked:
            raise ParsingError("Transfer-Encoding before HTTP/1.1")
        if self.content_length >= self.adj.max_request_body_size:
            self.expect_continue = False  # the answer is 413, not 100


class _Task(WSGITask):  # type: ignore[misc]
    """The answer to a valid request."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[BEGUN] = self.request.begun
        return environ

    def build_response_header(self) -> bytes:
        # One request for each connection: none can arrive on one that is just being closed.
        self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    """The answer to what is no valid request."""

    def execute(self) -> None:
        answer = Answer.of_status(self.request.error.code)
        get_logger().warning(
            "refused", status=answer.status, reason=str(self.request.error.body), peer=self.channel.addr[0]
        )
        body = answer.text.encode()
        self.status = f"{answer.status} {answer.name.replace('_', ' ').title()}"
        self.response_headers.append(("Content-Type", CONTENT_TYPE))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection."""

    parser_class = _Parser
    task_class = _Task
    error_task_class = _ErrorTask

    @property
    def waits_for_answer(self) -> bool:
        """Whether a request is on its way in, being answered, or its answer on its way out."""
        return bool(self.requests or self.request is not None or self.total_outbufs_len)

    def end_if_slow(self, limit_seconds: float) -> None:
        """Close the connection if its request has been coming in for too long, byte by byte or not at all."""
        request = self.request
        if request is not None and not self.requests and time.monotonic() - request.begun > limit_seconds:
            get_logger().warning("too slow", peer=self.addr[0], seconds=limit_seconds)
            self.will_close = True
