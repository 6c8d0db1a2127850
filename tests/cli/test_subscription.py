"""`aegis subscription`: what each command shows, changes and refuses."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.store import Store
from storage.subscription import open_subscription
from storage.topic import TopicSettings
from tests.cli.processes import running, wait_for


def documents(finished: Any) -> list[Any]:
    return [json.loads(line) for line in finished.lines]


@pytest.fixture
def store(aegis: Any) -> Iterator[Store]:
    with Store(aegis.store, create=True) as store:
        store.create_topic("orders")
        yield store


def publish(store: Store, *values: object, topic: str = "orders", partition: int = 0) -> None:
    for value in values:
        store.publish(topic, value, partition=partition, key="k")


def park(store: Store, count: int, name: str = "mailer", topics: tuple[str, ...] = ("orders",)) -> None:
    """Have the subscription put its first messages aside."""
    with open_subscription(store, name, topics=topics, max_deliveries=1) as subscription:
        subscription.nack(subscription.claim(count))


# -- list and describe ------------------------------------------------------------------------------------


def test_list_shows_every_subscription_on_a_line(aegis: Any, store: Store) -> None:
    publish(store, *range(5))
    park(store, 2)
    open_subscription(store, "audit", topics=["orders"])
    finished = aegis("subscription", "list")
    assert (0, b"") == (finished.code, finished.stderr)
    assert [
        ["SUBSCRIPTION", "TOPICS", "LAG", "IN", "FLIGHT", "WAITING", "PARKED", "CONSUMERS"],
        ["audit", "orders", "5", "0", "0", "0", "0"],
        ["mailer", "orders", "3", "0", "0", "2", "0"],
    ] == [line.split() for line in finished.lines]
    assert [("audit", 5), ("mailer", 3)] == [
        (one["name"], one["lag"]) for one in documents(aegis("subscription", "list", "--json"))
    ]


def test_a_store_without_subscriptions_lists_none(aegis: Any, store: Store) -> None:
    finished = aegis("subscription", "list", "--json")
    assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)


def test_list_goes_on_behind_a_damaged_one(aegis: Any, store: Store) -> None:
    for name in ("audit", "mailer"):
        open_subscription(store, name, topics=["orders"])
    (aegis.store / "subscriptions/audit/topic.toml").write_text("x")
    finished = aegis("subscription", "list", "--json")
    assert (5, ["mailer"]) == (finished.code, [one["name"] for one in documents(finished)])
    assert "audit/topic.toml is damaged" in finished.err


def test_describe_shows_settings_partitions_and_consumers(aegis: Any, store: Store) -> None:
    publish(store, *range(5))
    with open_subscription(store, "mailer", topics=["orders"], ack_timeout_seconds=1.5) as subscription:
        held = subscription.claim(3)
        held[0].ack()
        finished = aegis("subscription", "describe", "mailer")
        (shown,) = documents(aegis("subscription", "describe", "mailer", "--json"))
    assert 0 == finished.code
    lines = [line.split() for line in finished.lines]
    assert ["ack-timeout", "1.5", "s"] in lines
    assert ["acknowledged", "1"] in lines
    assert ["orders", "0", "1", "3", "5", "2", "2", "0", "0"] in lines
    assert any(line[1:] == [str(os.getpid()), "2"] for line in lines)
    assert ("orders", 1, 3, 5, 2) == tuple(
        shown["partitions"][0][name] for name in ("topic", "floor", "next_offset", "end_offset", "in_flight")
    )
    assert os.getpid() == shown["consumers"][0]["process"]
    assert 1500 == shown["settings"]["ack_timeout_ms"]


def test_a_partition_whose_topic_is_gone_has_no_end(aegis: Any, store: Store) -> None:
    publish(store, 1)
    open_subscription(store, "mailer", topics=["orders"])
    store.delete_topic("orders")
    (shown,) = documents(aegis("subscription", "describe", "mailer", "--json"))
    assert (None, 0) == (shown["partitions"][0]["end_offset"], shown["lag"])


# -- parked and replay ------------------------------------------------------------------------------------


def test_parked_shows_the_messages(aegis: Any, store: Store) -> None:
    publish(store, {"id": 1}, "x" * 100)
    park(store, 2)
    finished = aegis("subscription", "parked", "mailer")
    rows = [line.split() for line in finished.lines[1:]]
    assert [["orders", "0", "0", "1"], ["orders", "0", "1", "1"]] == [row[:4] for row in rows]
    assert ['{"id":1}', '"' + "x" * 56 + "..."] == [row[-1] for row in rows]
    first, second = documents(aegis("subscription", "parked", "mailer", "--json"))
    assert ({"id": 1}, "k", [], 1) == (first["value"], first["key"], first["headers"], first["deliveries"])
    assert "x" * 100 == second["value"]
    assert [first] == documents(aegis("subscription", "parked", "mailer", "--json", "-n", "1"))


def test_a_parked_message_that_the_topic_does_not_hold_any_more_has_no_value(
    aegis: Any, store: Store
) -> None:
    store.create_topic("small", TopicSettings(segment_bytes=4096, retention_bytes=5000))
    publish(store, 1, topic="small")
    park(store, 1, topics=("small",))
    publish(store, *["x" * 3000] * 5, topic="small")
    (shown,) = documents(aegis("subscription", "parked", "mailer", "--json"))
    assert (0, False) == (shown["offset"], "value" in shown)
    assert "-" == aegis("subscription", "parked", "mailer").lines[1].split()[-1]


def test_replay_delivers_again(aegis: Any, store: Store) -> None:
    publish(store, *range(4))
    park(store, 4)
    finished = aegis("subscription", "replay", "mailer", "1", "0:2", "--json")
    assert (0, [{"subscription": "mailer", "replayed": 2}]) == (finished.code, documents(finished))
    assert "aegis: 2 messages of subscription 'mailer' will be delivered again\n" == finished.err
    finished = aegis("subscription", "replay", "mailer", "orders:0:3")
    assert "aegis: 1 message of subscription 'mailer' will be delivered again\n" == finished.err
    assert 0 == aegis("subscription", "replay", "mailer", "--all").code
    with open_subscription(store, "mailer") as subscription:
        assert {0, 1, 2, 3} == {one.message.offset for one in subscription.claim(9)}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "what to replay is not clear; name offsets, or pass --all"),
        (["1", "--all"], 2, "what to replay is not clear; name offsets, or pass --all"),
        (["soon"], 2, "soon is no offset; write 17, 0:17 or orders:0:17"),
        (["a:0:0:1"], 2, "a:0:0:1 is no offset; write 17, 0:17 or orders:0:17"),
        (["1"], 2, "1 may be in several partitions; write TOPIC:PARTITION:OFFSET"),
        (["0:1"], 2, "0:1 may be in several partitions; write TOPIC:PARTITION:OFFSET"),
        (["7:1"], 2, "7:1 is in no partition that the subscription delivers"),
        (
            ["orders:0:0", "orders:0:1"],
            3,
            "subscription 'mailer' has not parked offset 1 of topic 'orders' partition 0; "
            "'aegis subscription parked mailer' shows what it has",
        ),
    ],
)
def test_replay_refuses_what_is_not_clear_or_not_there_and_replays_nothing(
    aegis: Any, store: Store, arguments: list[str], code: int, message: str
) -> None:
    store.create_topic("more", TopicSettings(partitions=2))
    publish(store, 1)
    park(store, 1, topics=("orders", "more"))
    finished = aegis("subscription", "replay", "mailer", *arguments)
    assert (code, b"", f"aegis: error: {message}\n") == (finished.code, finished.stdout, finished.err)
    assert 1 == len(documents(aegis("subscription", "parked", "mailer", "--json")))


# -- delete -----------------------------------------------------------------------------------------------


def test_delete_removes_the_subscription_and_no_message(aegis: Any, store: Store) -> None:
    publish(store, 1)
    for name in ("audit", "mailer"):
        open_subscription(store, name, topics=["orders"]).close()
    refused = aegis("subscription", "delete", "mailer")
    assert (2, b"") == (refused.code, refused.stdout)
    assert "delete subscription 'mailer'? cannot be asked without a terminal; pass --yes" in refused.err
    assert 3 == aegis("subscription", "delete", "mailer", "audt", "--yes").code
    finished = aegis("subscription", "delete", "mailer", "audit", "--yes")
    assert (0, "aegis: deleted subscription 'mailer'\naegis: deleted subscription 'audit'\n") == (
        finished.code,
        finished.err,
    )
    assert [] == list((aegis.store / "subscriptions").iterdir())
    assert [b"1"] == [message.value for message in store.read("orders")]


def test_one_that_is_consumed_is_not_deleted(aegis: Any, store: Store) -> None:
    publish(store, 1)
    with open_subscription(store, "mailer", topics=["orders"]) as subscription:
        subscription.claim(1)
        finished = aegis("subscription", "delete", "mailer", "--yes")
    assert (4, "aegis: error: subscription 'mailer' has a consumer; stop what consumes it first\n") == (
        finished.code,
        finished.err,
    )


# -- what is not there ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["describe"], ["parked"], ["replay", "--all"], ["delete", "--yes"]], ids=" ".join
)
def test_an_unknown_name_is_named_with_its_neighbour(aegis: Any, store: Store, arguments: list[str]) -> None:
    open_subscription(store, "mailer", topics=["orders"])
    finished = aegis("subscription", arguments[0], "mailr", *arguments[1:])
    assert (3, b"") == (finished.code, finished.stdout)
    assert "aegis: error: subscription 'mailr' not found; did you mean 'mailer'?\n" == finished.err


@pytest.mark.parametrize("command", ["describe", "parked"])
def test_a_name_that_cannot_be_is_refused(aegis: Any, store: Store, command: str) -> None:
    finished = aegis("subscription", command, "../topics/orders")
    assert (2, b"") == (finished.code, finished.stdout)
    assert "cannot be a name" in finished.err


# -- handing over -----------------------------------------------------------------------------------------

CONSUME = """
import sys
from aegis_cli.delivery.subscription import SubscriptionOptions, consume_subscription
from storage.output import Output
from storage.store import Store
from storage.subscription import open_subscription

with Store(sys.argv[1]) as store, open_subscription(store, "mailer", topics=["orders"]) as subscription:
    options = SubscriptionOptions(**eval(sys.argv[2]), on_notice=lambda text: print(text, file=sys.stderr))
    done = consume_subscription(subscription, Output(1), options)
print(done, file=sys.stderr)
"""


class Script:
    """What `running` starts: the program above instead of the command line."""

    def __init__(self, aegis: Any) -> None:
        self.environ, self.home = aegis.environ, aegis.home
        self._store: Path = aegis.store

    def command(self, **options: Any) -> list[str]:
        import sys

        return [sys.executable, "-c", CONSUME, str(self._store), repr(options)]


@pytest.fixture
def consume(aegis: Any) -> Any:
    script = Script(aegis)

    def start(**options: Any) -> Any:
        class Bound:
            environ, home = script.environ, script.home

            def command(self) -> list[str]:
                return script.command(**options)

        return running(Bound())

    return start


def counts(aegis: Any) -> tuple[int, int]:
    """How many messages are acknowledged, and in flight."""
    (shown,) = documents(aegis("subscription", "describe", "mailer", "--json"))
    return shown["counts"]["acknowledged"], shown["in_flight"]


def test_what_was_taken_is_acknowledged_and_it_ends_at_the_end(
    aegis: Any, store: Store, consume: Any
) -> None:
    publish(store, *range(250))
    with consume() as process:
        assert 0 == process.wait()
        assert [str(number) for number in range(250)] == process.stdout.decode().split()
        process.says("Delivered(records=250, idle=False)")
    assert (250, 0) == counts(aegis)
    with consume() as process:
        assert (0, b"") == (process.wait(), process.stdout)


def consumers(aegis: Any) -> int:
    finished = aegis("subscription", "describe", "mailer", "--json")
    return len(documents(finished)[0]["consumers"]) if finished.code == 0 else 0


def test_two_share_what_comes(aegis: Any, store: Store, consume: Any) -> None:
    options = {"follow": True, "idle_seconds": 2.0, "max_in_flight": 5}
    with consume(**options) as first, consume(**options) as second:
        wait_for(lambda: 2 == consumers(aegis))
        publish(store, *range(100))
        assert (0, 0) == (first.wait(), second.wait())
        for process in (first, second):
            count = process.stdout.count(b"\n")
            assert f"Delivered(records={count}, idle=True)\n" == process.stderr.decode()
        assert list(range(100)) == sorted(map(int, (first.stdout + second.stdout).split()))
    assert (100, 0) == counts(aegis)


def test_it_ends_after_as_many_as_were_asked_for(aegis: Any, store: Store, consume: Any) -> None:
    publish(store, *range(7))
    with consume(follow=True, limit=5, max_in_flight=3) as process:
        assert 0 == process.wait()
        assert [b"0", b"1", b"2", b"3", b"4"] == process.stdout.split()
    assert (5, 0) == counts(aegis)


def test_what_lies_in_the_pipe_is_not_acknowledged(aegis: Any, store: Store, consume: Any) -> None:
    publish(store, *range(10))
    with consume(follow=True, max_in_flight=4) as process:
        wait_for(lambda: 0 == aegis("subscription", "describe", "mailer").code)
        wait_for(lambda: (0, 4) == counts(aegis))
        process.process.send_signal(signal.SIGKILL)
        process.process.wait()
    with open_subscription(store, "mailer") as subscription:
        assert [2] * 4 == [one.delivery_count for one in subscription.claim(4)]


def test_a_reader_that_has_gone_leaves_the_rest_to_others_uncounted(
    aegis: Any, store: Store, consume: Any
) -> None:
    publish(store, *range(10))
    with consume(follow=True, max_in_flight=1) as process:
        process.lines_are(b"0")
        process.process.stdout.close()
        process._selector.unregister(process.process.stdout)
        process.says("BrokenPipeError")
    acknowledged, in_flight = counts(aegis)
    assert (True, 0) == (1 <= acknowledged <= 2, in_flight)
    with open_subscription(store, "mailer") as subscription:
        assert [(acknowledged, 1)] == [
            (one.message.offset, one.delivery_count) for one in subscription.claim(1)
        ]
