"""The phases of a connection: what the server is waiting for on it."""

from enum import StrEnum

__all__ = ["Phase"]


class Phase(StrEnum):
    """What a connection is doing.

    Attributes:
        SURPLUS: nothing yet; the server has more connections than it allows and will refuse this one.
        IDLE: between two requests; a timer closes the connection after `keep_alive_seconds`.
        HEAD: waiting for a request's head to arrive.
        BODY: waiting for the rest of a request's body.
        REFUSED_BODY: reading the rest of a body whose request has already been answered with an error.
        WORK: the application is working on an answer.
        ANSWER: waiting for the client to read its answer.
        CLOSING: the server is closing the connection.

    """

    SURPLUS = "surplus"
    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    REFUSED_BODY = "refused_body"
    WORK = "work"
    ANSWER = "answer"
    CLOSING = "closing"
