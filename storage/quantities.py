"""Durations and sizes as people write them.

    duration = "forever" | "0" | part {part}        part = number unit     e.g. 7d, 500ms, 1h30m, 1.5h
    size     = "unlimited" | number [unit]          e.g. 1048576, 64KiB, 1GB, 1.5 MB

Units of a duration are ms, s, m, h, d, w, each at most once and from large to small. Units of a size are
decimal (B, kB, MB, GB, TB) or binary (KiB, MiB, GiB, TiB); their case does not matter, and a lone K, M, G, T
is refused, since half of all programs mean 1000 by it and half 1024. Neither may be negative; what is written
must come out as a whole number of milliseconds or bytes. "forever" and "unlimited" are -1.
"""

from __future__ import annotations

UNLIMITED = -1
"""What `forever` and `unlimited` stand for."""

_MILLISECONDS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_BINARY_UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_DECIMAL_UNITS = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
# Above this a number cannot be stored in the 64 bits that the format has for it.
_LARGEST = 2**63 - 1
_CHARACTERS_MAX = 64


def parse_duration_ms(text: str) -> int:
    """`text` in milliseconds, UNLIMITED for "forever"; ValueError says what is wrong with it."""
    rest = _cleaned(text, "duration").lower()
    if rest == "forever":
        return UNLIMITED
    if rest == "0":
        return 0
    total = 0
    units = list(_MILLISECONDS)
    while rest:
        number, rest = _split_number(rest, text, "duration")
        unit, rest = _split_letters(rest)
        if not unit:
            raise ValueError(f"duration {text!r} has no unit after {number}; use ms, s, m, h, d or w")
        if unit not in _MILLISECONDS:
            raise ValueError(f"duration {text!r} has an unknown unit {unit!r}; use ms, s, m, h, d or w")
        if unit not in units:
            raise ValueError(f"duration {text!r} must have each unit once, from large to small")
        units = units[units.index(unit) + 1 :]
        total += _scaled(number, _MILLISECONDS[unit], text, "duration", "milliseconds")
    return _bounded(total, text, "duration")


def parse_size_bytes(text: str) -> int:
    """`text` in bytes, UNLIMITED for "unlimited"; ValueError says what is wrong with it."""
    rest = _cleaned(text, "size").lower()
    if rest == "unlimited":
        return UNLIMITED
    number, rest = _split_number(rest, text, "size")
    unit = rest.strip()
    if unit in ("k", "m", "g", "t"):
        large = unit.upper()
        raise ValueError(
            f"size {text!r} is ambiguous; write {large}B for powers of 1000 or {large}iB for 1024"
        )
    if unit not in _BYTES:
        raise ValueError(
            f"size {text!r} has an unknown unit {unit!r}; use B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"
        )
    return _bounded(_scaled(number, _BYTES[unit], text, "size", "bytes"), text, "size")


def format_duration(duration_ms: int) -> str:
    """The shortest text that `parse_duration_ms` reads back as `duration_ms`: 7d, 1h30m, 0."""
    if duration_ms == UNLIMITED:
        return "forever"
    if duration_ms < 0:
        raise ValueError(f"a duration cannot be negative: {duration_ms}")
    parts = []
    for unit, unit_ms in _MILLISECONDS.items():
        # Weeks are read but not written: 7d and 30d are what people compare.
        if unit != "w" and duration_ms >= unit_ms:
            parts.append(f"{duration_ms // unit_ms}{unit}")
            duration_ms %= unit_ms
    return "".join(parts) or "0"


def format_size(size_bytes: int) -> str:
    """A text that `parse_size_bytes` reads back as `size_bytes`: 1GiB, 5MB, 1234B.

    The largest unit in which it is a whole number, binary before decimal.
    """
    if size_bytes == UNLIMITED:
        return "unlimited"
    if size_bytes < 0:
        raise ValueError(f"a size cannot be negative: {size_bytes}")
    for unit, unit_bytes in (*_BINARY_UNITS, *_DECIMAL_UNITS):
        if size_bytes and size_bytes % unit_bytes == 0:
            return f"{size_bytes // unit_bytes}{unit}"
    return f"{size_bytes}B"


def _cleaned(text: str, kind: str) -> str:
    stripped = text.strip()
    if not stripped:
        raise ValueError(f"a {kind} is empty")
    if len(stripped) > _CHARACTERS_MAX:
        raise ValueError(f"a {kind} of {len(stripped)} characters is too long")
    if stripped.startswith("-"):
        raise ValueError(f"{kind} {text!r} is negative")
    return stripped


def _split_number(rest: str, text: str, kind: str) -> tuple[str, str]:
    end = 0
    while end < len(rest) and rest[end] in "0123456789.":
        end += 1
    number = rest[:end]
    if not number or number.count(".") > 1 or number.startswith(".") or number.endswith("."):
        raise ValueError(f"{kind} {text!r} has no number where one should be; write {_EXAMPLE[kind]}")
    return number, rest[end:]


def _split_letters(rest: str) -> tuple[str, str]:
    end = 0
    while end < len(rest) and rest[end] not in "0123456789. ":
        end += 1
    return rest[:end], rest[end:].lstrip()


def _scaled(number: str, factor: int, text: str, kind: str, units: str) -> int:
    """`number` times `factor`, worked out in integers: floats would turn 1.1 GB into something else."""
    whole, _, fraction = number.partition(".")
    divisor = int("1" + "0" * len(fraction))
    scaled, rest = divmod(int(whole + fraction) * factor, divisor)
    if rest:
        raise ValueError(f"{kind} {text!r} is not a whole number of {units}")
    return scaled


def _bounded(value: int, text: str, kind: str) -> int:
    if value > _LARGEST:
        raise ValueError(f"{kind} {text!r} is too large")
    return value


_EXAMPLE = {"duration": "7d, 1h30m or 500ms", "size": "1048576, 64KiB or 1GB"}
