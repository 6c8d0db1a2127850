"""Options that several commands share."""

from __future__ import annotations

import pytest

from aegis_cli.exits import UsageError
from aegis_cli.options import parsed
from storage.quantities import parse_duration_ms


def test_an_options_text_is_read() -> None:
    assert 500 == parsed(parse_duration_ms, "500ms", option="--lock-wait")


def test_a_text_that_cannot_be_read_is_a_usage_error_that_names_the_option() -> None:
    with pytest.raises(UsageError, match=r"^--lock-wait: duration '5parsecs' has an unknown unit"):
        parsed(parse_duration_ms, "5parsecs", option="--lock-wait")
