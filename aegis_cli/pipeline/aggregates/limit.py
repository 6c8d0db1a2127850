"""How many values one aggregate of one group keeps, and the error that says there are too many."""

from __future__ import annotations

from aegis_cli.pipeline.errors import RecordError

VALUES_MAX = 10_000


class GroupTooLargeError(RecordError):
    """An aggregate that keeps values has no room for the record's; the record is refused, the group stays."""

    def __init__(self, function: str, limit: int) -> None:
        self.function = function
        self.limit = limit
        super().__init__(f"{function} holds {limit} values of this group already, and that is its limit")


def check_room(function: str, values: int, limit: int = VALUES_MAX) -> None:
    """Raise `GroupTooLargeError` for more values than the limit."""
    if values > limit:
        raise GroupTooLargeError(function, limit)
