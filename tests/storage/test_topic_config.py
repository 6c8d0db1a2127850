"""A topic's settings as text: our names, Kafka's names, defaults, refusals."""

from __future__ import annotations

import pytest

from storage.errors import SettingError
from storage.topic import TopicSettings
from storage.topic_config import as_texts, changed

DAY_MS = 24 * 3600 * 1000


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("partitions", "4", "partitions", 4),
        ("retention", "7d", "retention_ms", 7 * DAY_MS),
        ("retention", "forever", "retention_ms", None),
        ("retention.ms", "1000", "retention_ms", 1000),
        ("retention.ms", "-1", "retention_ms", None),
        ("retention-bytes", "1GB", "retention_bytes", 10**9),
        ("retention_bytes", "unlimited", "retention_bytes", None),
        ("retention.bytes", "-1", "retention_bytes", None),
        ("segment.bytes", "65536", "segment_bytes", 65536),
        ("segment-age", "1d", "segment_age_ms", DAY_MS),
        ("segment.ms", "3600000", "segment_age_ms", DAY_MS // 24),
        ("max.message.bytes", "2MB", "max_message_bytes", 2 * 10**6),
        ("cleanup.policy", "compact", "cleanup", "compact"),
        ("durability", "os", "durability", "os"),
        ("key", "customer_id", "key", "customer_id"),
    ],
)
def test_a_setting_is_read_under_our_name_and_under_kafkas(
    name: str, text: str, field: str, value: object
) -> None:
    assert value == getattr(changed(TopicSettings(retention_ms=5, retention_bytes=5), {name: text}), field)


def test_an_empty_value_takes_the_default() -> None:
    settings = TopicSettings(retention_ms=5, segment_bytes=8192)
    defaults = TopicSettings(retention_ms=9)
    after = changed(settings, {"retention": "", "segment-bytes": " "}, defaults=defaults)
    assert (9, TopicSettings().segment_bytes) == (after.retention_ms, after.segment_bytes)


def test_settings_that_are_not_named_stay() -> None:
    settings = TopicSettings(partitions=3, key="id", durability="os")
    after = changed(settings, {"retention": "1h"})
    assert (3, "id", "os") == (after.partitions, after.key, after.durability)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"segment-byte": "1"}, "'segment-byte' does not exist; did you mean 'segment-bytes'"),
        ({"nonsense": "1"}, "'nonsense' does not exist; the settings are partitions, key"),
        ({"retention": "7"}, "'retention' cannot be '7'; give a duration such as 12h or 7d, or forever"),
        ({"segment-age": "forever"}, "'segment-age' cannot be 'forever'; give a duration"),
        ({"segment-bytes": "unlimited"}, "'segment-bytes' cannot be 'unlimited'; give a size"),
        ({"partitions": "two"}, "'partitions' cannot be 'two'; give a whole number"),
        ({"partitions": "-1"}, "'partitions' is -1; use 1 to 10000"),
        ({"partitions": ""}, "'partitions' has no value; give a whole number"),
        ({"durability": "maybe"}, "'durability' is 'maybe'; use fsync or os"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_can(texts: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        changed(TopicSettings(), texts)


def test_the_texts_of_settings_are_read_back_as_they_were() -> None:
    settings = TopicSettings(
        partitions=7,
        key="a.b",
        retention_ms=90_061_001,
        retention_bytes=12345,
        segment_bytes=8191,
        segment_age_ms=5000,
        durability="os",
        cleanup="compact",
        max_message_bytes=1,
    )
    assert settings == changed(TopicSettings(), as_texts(settings))
    assert TopicSettings() == changed(settings, as_texts(TopicSettings()) | {"partitions": "1"})
