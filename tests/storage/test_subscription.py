"""Subscriptions: consumers in threads and processes that share messages, die, stop and come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import state_log
from storage.batch import RecordBatch
from storage.delivery import Delivery
from storage.errors import InvalidNameError, SettingError, TopicNotFoundError
from storage.reader import Gap
from storage.store import Append, Store
from storage.subscription import Subscription, open_subscription
from storage.subscription_admin import delete_subscription, describe_subscription, subscription_names
from storage.subscription_errors import (
    ClaimLostError,
    MessageNotParkedError,
    ParkedFullError,
    SubscriptionInUseError,
    SubscriptionNotFoundError,
    SubscriptionTopicsError,
)
from storage.subscription_member import members_path
from storage.topic import TopicSettings
from storage.verify import verify

DEADLINE_SECONDS = 20.0
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as store:
        store.create_topic("t")
        yield store


def publish(store: Store, count: int, topic: str = "t") -> None:
    lines = b"".join(b"%d\n" % number for number in range(count))
    store.append([Append(topic=topic, partition=0, batches=[RecordBatch(lines=lines, count=count)])])


def subscribed(store: Store, name: str = "s", **options: Any) -> Subscription:
    return open_subscription(store, name, topics=["t"], **options)


def offsets(deliveries: list[Delivery]) -> list[int]:
    return [delivery.message.offset for delivery in deliveries]


def claim_within(subscription: Subscription, limit: int = 1) -> list[Delivery]:
    """Claim, waiting as long as it takes."""
    deliveries = subscription.claim(limit, timeout_seconds=DEADLINE_SECONDS)
    assert deliveries, "nothing came"
    return deliveries


class Worker:
    """A consumer in another process."""

    def __init__(self, store: Store, name: str = "s") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.subscription_worker", store.path, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def tell(self, *command: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def __call__(self, *command: object) -> Any:
        self.tell(*command)
        return self.answer()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def workers(store: Store) -> Iterator[Any]:
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(store))
        return started[-1]

    yield start
    for worker in started:
        worker.end()


# -- claiming and settling --------------------------------------------------------------------------------


def test_messages_are_claimed_in_order_and_come_with_all_that_belongs_to_them(store: Store) -> None:
    store.publish("t", {"id": 1}, key="k", headers={"h": "v"}, timestamp_ms=7)
    store.publish("t", {"id": 2})
    with subscribed(store) as subscription:
        first, second = subscription.claim(5)
        message = first.message
        assert (b'{"id":1}', b'"k"', 7, 1) == (
            message.value,
            message.key,
            message.timestamp_ms,
            first.delivery_count,
        )
        assert (1, b'{"id":2}') == (second.message.offset, second.message.value)
        first.ack()
        second.ack()
        assert [] == subscription.claim(5)


def test_two_consumers_share_one_partition(store: Store) -> None:
    publish(store, 6)
    with subscribed(store) as first, subscribed(store) as second:
        assert [0, 1] == offsets(first.claim(2))
        assert [2, 3, 4] == offsets(second.claim(3))
        assert [5] == offsets(first.claim(2))


def test_a_batch_is_acknowledged_in_one_record(store: Store) -> None:
    publish(store, 100)
    with subscribed(store) as subscription:
        deliveries = subscription.claim(100)
        before = store.reader("subscriptions/s", 0).end_offset
        subscription.ack(deliveries)
        assert before + 1 == store.reader("subscriptions/s", 0).end_offset
    assert 100 == describe_subscription(store, "s").counts.acknowledged


def test_acknowledgements_of_many_threads_share_their_records(store: Store) -> None:
    publish(store, 400)
    with subscribed(store) as subscription:
        deliveries = subscription.claim(400)
        before = store.journal.end.sequence

        def work(number: int) -> None:
            for delivery in deliveries[number::8]:
                delivery.ack()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.journal.end.sequence - before < 400
    found = describe_subscription(store, "s")
    assert (400, 0, 400) == (found.counts.acknowledged, found.in_flight, found.partitions[0].floor)


def test_what_was_nacked_comes_again_first_and_is_counted(store: Store) -> None:
    publish(store, 3)
    with subscribed(store) as subscription:
        first, _ = subscription.claim(2)
        first.nack()
        again = subscription.claim(5)
        assert [(0, 2), (2, 1)] == [(one.message.offset, one.delivery_count) for one in again]
        with pytest.raises(ClaimLostError):
            first.ack()


def test_a_nack_with_a_delay_comes_again_after_it(store: Store) -> None:
    publish(store, 1)
    with subscribed(store) as subscription:
        began = time.monotonic()
        subscription.claim(1)[0].nack(delay_seconds=0.2)
        assert [] == subscription.claim(1)
        assert [0] == offsets(claim_within(subscription))
        assert time.monotonic() - began >= 0.19


def test_what_was_released_was_not_delivered(store: Store) -> None:
    publish(store, 1)
    with subscribed(store, max_deliveries=1) as subscription:
        for _ in range(3):
            subscription.claim(1)[0].release()
        assert [1] == [delivery.delivery_count for delivery in subscription.claim(1)]


def test_some_of_a_batch_may_be_lost_and_the_rest_counts(store: Store) -> None:
    publish(store, 3)
    with subscribed(store) as subscription:
        deliveries = subscription.claim(3)
        deliveries[1].nack()
        with pytest.raises(
            ClaimLostError, match="offset 1 of topic 't' partition 0 is not claimed"
        ) as caught:
            subscription.ack(deliveries)
        assert (("t", 0, 1),) == caught.value.messages
        assert {(0, 1)} == set(subscription._state.waiting)


def test_a_claim_waits_for_a_message(store: Store) -> None:
    with subscribed(store) as subscription:
        timer = threading.Timer(0.1, store.publish, args=("t", 1))
        timer.start()
        assert [0] == offsets(claim_within(subscription))
        timer.join()


def test_a_claim_that_nothing_came_for_ends_at_its_time(store: Store) -> None:
    with subscribed(store) as subscription:
        began = time.monotonic()
        assert [] == subscription.claim(1, timeout_seconds=0.05)
        assert time.monotonic() - began < 5


def test_a_consumer_that_closes_gives_back_what_it_held(store: Store) -> None:
    publish(store, 2)
    with subscribed(store) as other:
        with subscribed(store) as subscription:
            subscription.claim(2)
        assert [(0, 2), (1, 2)] == [(one.message.offset, one.delivery_count) for one in other.claim(2)]
        (file,) = Path(members_path(other._log.directory)).iterdir()
        assert other._name == file.name


def test_iterating_ends_after_what_was_there(store: Store) -> None:
    publish(store, 3)
    with subscribed(store) as subscription:
        subscription.stop_at_end()
        publish(store, 2)
        seen = []
        for delivery in subscription:
            seen.append(delivery.message.offset)
            if seen == [0]:
                delivery.nack(delay_seconds=0.05)
            else:
                delivery.ack()
        assert ([0, 1, 2, 0], True) == (seen, subscription.drained)
    with subscribed(store) as again:
        assert [3, 4] == offsets(again.claim(9))


def test_no_more_are_in_flight_than_allowed(store: Store) -> None:
    publish(store, 10)
    with subscribed(store, max_in_flight=4) as first, subscribed(store) as second:
        held = first.claim(3)
        assert [3] == offsets(second.claim(9))
        assert [] == second.claim(9)
        first.ack(held)
        assert [4, 5, 6] == offsets(second.claim(9))


# -- time, death and coming back --------------------------------------------------------------------------


def test_what_is_not_acknowledged_in_time_is_delivered_to_another_and_the_late_ack_is_refused(
    store: Store,
) -> None:
    publish(store, 1)
    with subscribed(store, ack_timeout_seconds=0.1) as first, subscribed(store) as second:
        (late,) = first.claim(1)
        (again,) = claim_within(second)
        assert (0, 2) == (again.message.offset, again.delivery_count)
        with pytest.raises(ClaimLostError):
            late.ack()
        with pytest.raises(ClaimLostError):
            late.extend()
        again.ack()


def test_what_takes_longer_is_kept_by_extending_it(store: Store) -> None:
    publish(store, 1)
    with subscribed(store, ack_timeout_seconds=0.4) as first, subscribed(store) as second:
        (delivery,) = first.claim(1)
        for _ in range(6):
            assert [] == second.claim(1, timeout_seconds=0.1)
            delivery.extend()
        delivery.ack()


def test_two_processes_get_each_message_once(store: Store, workers: Any) -> None:
    publish(store, 150)
    subscribed(store).close()
    first, second = workers(), workers()
    first.tell("drain", 3)
    second.tell("drain", 4)
    taken = [first.answer(), second.answer()]
    assert all(taken)
    assert list(range(150)) == sorted(taken[0] + taken[1])


def test_what_a_killed_process_held_is_delivered_at_once(store: Store, workers: Any) -> None:
    publish(store, 2)
    with subscribed(store) as subscription:
        doomed = workers()
        assert [[0, 1], [1, 1]] == doomed("claim", 2, 0)
        took: list[float] = []

        def take() -> None:
            assert [0, 1] == offsets(claim_within(subscription, 2))
            took.append(time.monotonic())

        thread = threading.Thread(target=take)
        thread.start()
        assert [] == workers()("claim", 2, 0)  # by now the thread waits
        os.kill(doomed.process.pid, signal.SIGKILL)
        killed = time.monotonic()
        thread.join()
        # Well below the 30 s that a claim lasts.
        assert took[0] - killed < 5


def test_a_stopped_process_that_comes_back_is_told_that_its_messages_are_another_s(
    store: Store, workers: Any
) -> None:
    publish(store, 2)
    with subscribed(store, ack_timeout_seconds=0.3) as subscription:
        stopped = workers()
        assert [[0, 1], [1, 1]] == stopped("claim", 2, 0)
        stopped("ack", 0)
        os.kill(stopped.process.pid, signal.SIGSTOP)
        (again,) = claim_within(subscription)
        os.kill(stopped.process.pid, signal.SIGCONT)
        assert {"lost": [1]} == stopped("ack", 1)
        again.ack()
        assert [] == stopped("claim", 1, 0)


def test_the_files_of_dead_consumers_are_removed(store: Store, workers: Any) -> None:
    publish(store, 1)
    with subscribed(store) as subscription:
        doomed = workers()
        doomed("claim", 1, 0)
        os.kill(doomed.process.pid, signal.SIGKILL)
        doomed.process.wait()
        claim_within(subscription)
        directory = Path(members_path(subscription._log.directory))
        subscription.claim(1)
        assert [subscription._name] == [file.name for file in directory.iterdir()]


# -- putting aside ----------------------------------------------------------------------------------------


def fail(subscription: Subscription) -> None:
    """Give back whatever comes until nothing does."""
    while deliveries := subscription.claim(10):
        subscription.nack(deliveries)


def test_a_message_is_parked_after_its_last_delivery_and_replayed(store: Store) -> None:
    publish(store, 3)
    with subscribed(store, max_deliveries=2) as subscription:
        fail(subscription)
        parked = list(subscription.parked())
        assert [(0, 2, b"0"), (1, 2, b"1"), (2, 2, b"2")] == [
            (one.offset, one.deliveries, one.message and one.message.value) for one in parked
        ]
        assert 1 == subscription.replay([("t", 0, 1)])
        assert [(1, 1)] == [(one.message.offset, one.delivery_count) for one in subscription.claim(9)]
        assert (2, 0) == (subscription.replay(), subscription.replay())
        assert [0, 2] == offsets(subscription.claim(9))


def test_a_message_that_is_not_parked_cannot_be_replayed(store: Store) -> None:
    publish(store, 3)
    with subscribed(store, max_deliveries=1) as subscription:
        subscription.nack(subscription.claim(1))
        for wrong in (("t", 0, 2), ("t", 1, 0), ("u", 0, 0)):
            with pytest.raises(MessageNotParkedError):
                subscription.replay([("t", 0, 0), wrong])
        assert 0 == subscription.replay([])
        assert [0] == [one.offset for one in subscription.parked()]


def test_a_message_goes_to_the_dead_letter_topic_with_its_key_and_where_it_came_from(store: Store) -> None:
    store.create_topic("dead", TopicSettings(partitions=2))
    store.publish("t", {"id": 1}, key="k", headers={"h": "v"})
    store.publish("t", {"id": 2})
    with subscribed(store, max_deliveries=2, dead_letter="dead") as subscription:
        fail(subscription)
        assert [] == list(subscription.parked())
    dead = sorted(store.read("dead"), key=lambda message: message.value)
    assert [(b'{"id":1}', b'"k"'), (b'{"id":2}', None)] == [(one.value, one.key) for one in dead]
    headers = [[(item["key"], item["value"]) for item in json.loads(one.headers or b"")] for one in dead]
    assert ("h", "v") == headers[0][0]
    assert {
        "aegis-subscription": "s",
        "aegis-topic": "t",
        "aegis-partition": "0",
        "aegis-offset": "1",
        "aegis-timestamp": str(list(store.read("t"))[1].timestamp_ms),
        "aegis-deliveries": "2",
    } == dict(headers[1])
    found = describe_subscription(store, "s")
    assert (2, 0, 2) == (found.counts.dead_lettered, found.waiting, found.partitions[0].floor)


def test_many_consumers_take_each_message_to_the_dead_letter_topic_once(store: Store) -> None:
    store.create_topic("dead")
    publish(store, 100)
    subscribed(store, max_deliveries=2, dead_letter="dead").close()

    def work() -> None:
        with subscribed(store) as subscription:
            subscription.stop_at_end()
            for delivery in subscription:
                delivery.nack()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with subscribed(store) as subscription:
        fail(subscription)
    assert list(range(100)) == sorted(int(message.value) for message in store.read("dead"))
    assert 100 == describe_subscription(store, "s").counts.dead_lettered


def test_a_subscription_that_parked_too_much_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.subscription_state.PARKED_MAX", 2)
    monkeypatch.setattr("storage.subscription_parking.PARKED_MAX", 2)
    publish(store, 4)
    with subscribed(store, max_deliveries=1, max_in_flight=1) as subscription:
        with pytest.raises(ParkedFullError):
            fail(subscription)
        subscription.replay([("t", 0, 0)])
        assert [0] == offsets(subscription.claim(9))


# -- opening ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "expected"), [("earliest", [0, 1]), ("latest", [2]), ("-1", [1, 2])])
def test_a_new_subscription_begins_where_it_is_told(store: Store, start: str, expected: list[int]) -> None:
    publish(store, 2)
    with subscribed(store, start=start) as subscription:
        publish(store, 1)
        assert expected == offsets(subscription.claim(2))


def test_what_exists_keeps_its_settings_unless_they_are_given(store: Store) -> None:
    subscribed(store, max_deliveries=3, ack_timeout_seconds=1.5)
    kept = subscribed(store).settings
    assert (3, 1500, 1000) == (kept.max_deliveries, kept.ack_timeout_ms, kept.max_in_flight)
    assert (3, 7) == (
        subscribed(store, max_in_flight=7).settings.max_deliveries,
        open_subscription(store, "s", create=False).settings.max_in_flight,
    )
    store.create_topic("dead")
    assert "dead" == subscribed(store, dead_letter="dead").settings.dead_letter
    assert None is subscribed(store, dead_letter="").settings.dead_letter


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_deliveries": 0}, SettingError),
        ({"max_in_flight": 0}, SettingError),
        ({"ack_timeout_seconds": 0.0}, SettingError),
        ({"dead_letter": "t"}, SettingError),
        ({"start": "soon"}, SettingError),
        ({"dead_letter": "nothing"}, TopicNotFoundError),
        ({"topics": ["nothing"]}, TopicNotFoundError),
        ({"topics": []}, SettingError),
    ],
)
def test_what_cannot_be_makes_no_subscription(
    store: Store, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        open_subscription(store, "s", **{"topics": ["t"], **options})
    assert [] == subscription_names(store)


def test_a_subscription_that_is_not_there_is_named_with_its_neighbour(store: Store) -> None:
    subscribed(store, "mailer")
    with pytest.raises(
        SubscriptionNotFoundError, match="subscription 'mailr' not found; did you mean 'mailer'"
    ):
        open_subscription(store, "mailr", create=False)
    with pytest.raises(SubscriptionNotFoundError, match="'aegis subscription list' shows all"):
        describe_subscription(store, "nothing")
    with pytest.raises(InvalidNameError):
        subscribed(store, "../s")


def test_a_subscription_is_not_opened_for_other_topics(store: Store) -> None:
    store.create_topic("u")
    subscribed(store)
    with pytest.raises(SubscriptionTopicsError, match="delivers 't', not 't', 'u'"):
        open_subscription(store, "s", topics=["t", "u"])


def test_a_making_that_was_cut_short_is_finished_by_the_next(store: Store) -> None:
    state_log.create_log(store, "subscriptions/s")
    with pytest.raises(SubscriptionNotFoundError):
        open_subscription(store, "s", create=False)
    publish(store, 1)
    assert [0] == offsets(subscribed(store).claim(1))


def test_many_that_make_it_at_once_make_one(store: Store) -> None:
    publish(store, 40)
    taken: list[int] = []

    def work() -> None:
        with subscribed(store) as subscription:
            subscription.stop_at_end()
            for delivery in subscription:
                taken.append(delivery.message.offset)
                delivery.ack()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(range(40)) == sorted(taken)


# -- topics that change -----------------------------------------------------------------------------------


def test_several_topics_and_partitions_are_delivered_and_new_partitions_too(store: Store) -> None:
    store.create_topic("u", TopicSettings(partitions=2))
    with open_subscription(store, "s", topics=["t", "u"]) as subscription:
        for topic, partition in (("t", 0), ("u", 0), ("u", 1)):
            store.publish(topic, 1, partition=partition)
        first = {(one.message.topic, one.message.partition) for one in subscription.claim(9)}
        store.alter_topic("u", TopicSettings(partitions=3))
        store.publish("u", 1, partition=2)
        (added,) = subscription.claim(9)
    assert ({("t", 0), ("u", 0), ("u", 1)}, 2) == (first, added.message.partition)


def test_a_topic_that_is_made_again_is_delivered_from_its_start(store: Store) -> None:
    publish(store, 2)
    notices: list[str] = []
    with subscribed(store, max_deliveries=1, on_notice=notices.append) as subscription:
        subscription.nack(subscription.claim(2))
        store.delete_topic("t")
        assert [] == subscription.claim(1)
        store.create_topic("t")
        store.publish("t", "new")
        assert [b'"new"'] == [one.message.value for one in subscription.claim(9)]
        assert [] == list(subscription.parked())
    assert [
        "topic 't' was deleted; waiting for a new topic of this name",
        "topic 't' was deleted and created again; delivering the new one",
    ] == notices


def test_messages_of_a_deleted_topic_that_wait_are_given_up(store: Store) -> None:
    publish(store, 2)
    with subscribed(store) as subscription:
        subscription.nack(subscription.claim(2))
        store.delete_topic("t")
        assert [] == subscription.claim(2)
        assert (2, {}) == (subscription._state.counts.gone, subscription._state.waiting)


def test_what_retention_removed_is_not_delivered(store: Store) -> None:
    store.create_topic("small", TopicSettings(segment_bytes=4096, retention_bytes=5000))
    with open_subscription(store, "s", topics=["small"]) as subscription:
        publish(store, 1, "small")
        held = subscription.claim(1)
        for _ in range(10):
            publish(store, 400, "small")
        start = store.reader("small", 0).start_offset
        subscription.nack(held)
    assert start > 1
    with open_subscription(store, "s", topics=["small"]) as other:
        assert [start] == offsets(other.claim(2))
        assert (1, start + 1) == (other._state.counts.gone, other._state.places[0].next_offset)


def test_damaged_messages_are_told_of_and_passed_over(store: Store) -> None:
    for _ in range(3):
        publish(store, 5)
    path = Path(store.topic("t").partition_directory(0), f"{0:020}.jsonl")
    raw = bytearray(path.read_bytes())
    raw[12] ^= 1  # in the second batch
    path.write_bytes(raw)
    gaps: list[Gap] = []
    with subscribed(store, on_gap=gaps.append) as subscription:
        taken = [offset for _ in range(5) for offset in offsets(subscription.claim(3))]
    assert [*range(5), *range(10, 15)] == taken
    assert [(5, 10)] == [(gap.first_offset, gap.end_offset) for gap in gaps]


# -- the log ----------------------------------------------------------------------------------------------


def test_a_shortened_log_gives_the_same_subscription(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_log, "_RECORDS_BETWEEN_SNAPSHOTS", 10)
    monkeypatch.setattr(state_log, "SEGMENT_BYTES", 4096)
    publish(store, 200)
    taken = []
    with subscribed(store, max_deliveries=1) as subscription:
        subscription.nack(subscription.claim(1))
        for _ in range(99):
            (delivery,) = subscription.claim(1)
            taken.append(delivery.message.offset)
            delivery.ack()
    assert store.reader("subscriptions/s", 0).start_offset > 0
    with subscribed(store) as again:
        assert (1, 99, 100) == (
            len(list(again.parked())),
            again._state.counts.acknowledged,
            offsets(again.claim(1))[0],
        )
    assert [] == [finding for finding in verify(store.path) if finding.is_damage]


def test_describing_says_who_has_what(store: Store) -> None:
    publish(store, 10)
    with subscribed(store, max_deliveries=1) as subscription, subscribed(store) as other:
        held = subscription.claim(4)
        held[0].nack()
        other.claim(1)[0].nack(delay_seconds=60)
        found = describe_subscription(store, "s")
        assert {(subscription._name, os.getpid(), 3), (other._name, os.getpid(), 0)} == {
            (one.name, one.process, one.in_flight) for one in found.consumers
        }
    assert (5, 3, 0, 2) == (found.lag, found.in_flight, found.waiting, found.parked)
    (place,) = found.partitions
    assert (1, 5, 10) == (place.floor, place.next_offset, place.end_offset)
    assert [] == describe_subscription(store, "s").consumers


def test_deleting_waits_for_nobody_but_refuses_while_somebody_consumes(store: Store) -> None:
    publish(store, 1)
    with subscribed(store) as subscription:
        subscription.claim(1)
        with pytest.raises(SubscriptionInUseError, match="has a consumer; stop what consumes it first"):
            delete_subscription(store, "s")
    idle = subscribed(store)
    delete_subscription(store, "s")
    assert [] == subscription_names(store)
    with pytest.raises(SubscriptionNotFoundError):
        idle.claim(1)
    with pytest.raises(SubscriptionNotFoundError):
        delete_subscription(store, "s")
    subscribed(store)
    with pytest.raises(SubscriptionNotFoundError):
        idle.claim(1)
