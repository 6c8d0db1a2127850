"""Who appends for many may die or be stopped anywhere: each message is there once, and its writer is told."""

from __future__ import annotations

import time

import pytest

from tests.rules.rig import DiedError, RefusedError, Rig, Worker, until

# Before, under and behind the lock of the partition, in the order in which a leader comes to them.
BEFORE_THE_LOCK = ["combine.gathered"]
UNDER_THE_LOCK = [
    "append.locked",
    "head.marked",
    "combine.taken",
    "journal.append",
    "journal.written",
    "journal.moved",
    "combine.committed",
]
BEHIND_THE_LOCK = [
    "append.released",
    "journal.sync",
    "journal.synced",
    "append.durable",
    "apply",
    "apply.index",
    "applied",
    "combine.durable",
    "combine.done",
]
# What has a key goes the long way of a post, what has none the short one.
KEYS = ["k", None]
STEPS = BEFORE_THE_LOCK + UNDER_THE_LOCK + BEHIND_THE_LOCK


class Company:
    """A leader that waits behind its own append until two others have posted, and then appends theirs."""

    def __init__(self, rig: Rig, points: str, *, lock_wait: float = 20.0) -> None:
        self.rig = rig
        self.gate = rig.gate()
        self.leader = rig.worker(f"combine.durable=wait:{self.gate.path}@1;{points}")
        self.posters = [rig.worker(lock_wait=lock_wait) for _ in range(2)]
        for worker in (self.leader, *self.posters):
            worker.do("crowd", "t")

    def begin(self) -> None:
        self.leader.send("publish", "t", '"own"')
        self.gate.wait_reached()
        for number, poster in enumerate(self.posters):
            poster.send("publish", "t", f'"posted {number}"', key=KEYS[number])
        until(lambda: 2 == self.rig.innards.posted("t"), "two posts")
        self.gate.open()

    def check(self, *more: str) -> None:
        """Both have what they were told, and everything is there once."""
        receipts = [poster.reply() for poster in self.posters]
        values = self.rig.read("t")
        for number, receipt in enumerate(receipts):
            [[base, last]] = receipt  # type: ignore[misc]
            assert base == last
            assert f'"posted {number}"' == values[base]
        assert sorted(['"own"', '"posted 0"', '"posted 1"', *more]) == sorted(values)


def test_a_leader_appends_for_all_who_have_posted(rig: Rig, writer: Worker) -> None:
    company = Company(rig, "journal.append=kill@3")
    company.begin()
    # A third record of the journal would have killed it.
    assert [[0, 0]] == company.leader.reply()
    company.check()
    assert [1, 2] == [len(batch.values()) for batch in rig.batches("t")]


@pytest.mark.parametrize("step", STEPS)
def test_a_leader_that_dies_takes_nobody_with_it(rig: Rig, writer: Worker, step: str) -> None:
    company = Company(rig, f"{step}=kill@2")
    company.begin()
    with pytest.raises(DiedError):
        company.leader.reply()
    company.check()
    # And so it goes on.
    company.posters[0].do("publish", "t", '"more"')
    assert '"more"' == rig.read("t")[-1]


@pytest.mark.parametrize("step", UNDER_THE_LOCK)
def test_whoever_comes_first_after_a_dead_leader_settles_what_became_of_its_group(
    rig: Rig, writer: Worker, step: str
) -> None:
    company = Company(rig, f"{step}=stop@2")
    company.begin()
    company.leader.wait_stopped()
    for poster in company.posters:
        poster.stop()
    company.leader.kill()
    # A writer that never heard of posts, then an append over two partitions.
    writer.do("publish", "t", '"first"')
    writer.do("create", "u")
    writer.do("atomic", ["t", 0, '"second"', None], ["u", 0, '"second"', None])
    for poster in company.posters:
        poster.go_on()
    company.check('"first"', '"second"')


@pytest.mark.parametrize("step", BEFORE_THE_LOCK + BEHIND_THE_LOCK)
def test_a_leader_that_is_stopped_delays_others_by_milliseconds_and_does_no_harm_later(
    rig: Rig, writer: Worker, step: str
) -> None:
    company = Company(rig, f"{step}=stop@2")
    company.begin()
    company.leader.wait_stopped()
    company.check()
    seconds = []
    for number in range(10):
        began = time.monotonic()
        company.posters[number % 2].do("publish", "t", str(number))
        seconds.append(time.monotonic() - began)
    # A busy machine may delay some of them, a stopped leader would delay each.
    assert 0.1 > min(seconds)
    for number, poster in enumerate(company.posters):
        poster.send("sequence", "t", f"during {number}", 20)
    company.leader.go_on()
    assert [[0, 0]] == company.leader.reply()
    told = {value: offset for poster in company.posters for value, offset in poster.reply()}  # type: ignore[attr-defined]
    values = rig.read("t")
    assert 3 + 10 + 40 == len(values)
    assert len(values) == len(set(values))
    assert all(f'"{value}"' == values[offset] for value, offset in told.items())


@pytest.mark.parametrize("step", UNDER_THE_LOCK)
def test_who_waits_for_a_leader_that_is_stopped_under_the_lock_gives_up_at_the_deadline(
    rig: Rig, writer: Worker, step: str
) -> None:
    company = Company(rig, f"{step}=stop@2", lock_wait=0.5)
    company.begin()
    company.leader.wait_stopped()
    errors = []
    for poster in company.posters:
        with pytest.raises(RefusedError) as caught:
            poster.reply()
        errors.append(caught.value)
    taken = UNDER_THE_LOCK.index(step) >= UNDER_THE_LOCK.index("combine.taken")
    committed = step == "combine.committed"
    expected = "NotYetVisibleError" if committed else "InDoubtError" if taken else "LockTimeoutError"
    assert {expected} == {error.kind for error in errors}
    assert all(str(company.leader.pid) in error.message for error in errors)
    company.leader.go_on()
    assert [[0, 0]] == company.leader.reply()
    # What they took back in time was not appended; the rest is there, and once.
    stored = taken and step != "combine.taken"
    values = ['"own"', '"posted 0"', '"posted 1"'] if stored else ['"own"']
    assert values == sorted(rig.read("t"))
    company.posters[0].do("publish", "t", '"more"')
    assert [*values, '"more"'] == [*sorted(rig.read("t")[:-1]), rig.read("t")[-1]]


@pytest.mark.parametrize("step", ["combine.post", "combine.posted"])
@pytest.mark.parametrize("action", ["kill", "stop"])
def test_a_poster_that_dies_or_is_stopped_delays_nobody(
    rig: Rig, writer: Worker, step: str, action: str
) -> None:
    writer.do("crowd", "t")
    other = rig.worker(f"{step}={action}")
    other.do("crowd", "t")
    other.send("publish", "t", '"lost"')
    if action == "stop":
        other.wait_stopped()
    else:
        with pytest.raises(DiedError):
            other.reply()
    seconds = []
    for number in range(10):
        began = time.monotonic()
        writer.do("publish", "t", str(number))
        seconds.append(time.monotonic() - began)
    assert 0.1 > min(seconds)
    # The slot of the dead is another's now; what it had posted may have been appended, but not twice.
    heir = rig.worker()
    heir.do("crowd", "t")
    heir.do("publish", "t", '"heir"')
    if action == "stop":
        other.go_on()
        [[base, _]] = other.reply()  # type: ignore[misc]
        assert '"lost"' == rig.read("t")[base]
    values = rig.read("t")
    assert 1 >= values.count('"lost"')
    assert [*map(str, range(10)), '"heir"'] == [value for value in values if value != '"lost"']


def test_a_failed_sync_reaches_everyone_in_the_group(rig: Rig, writer: Worker) -> None:
    company = Company(rig, "sync:JOURNAL_COMMIT=eio@2")
    company.begin()
    assert [[0, 0]] == company.leader.reply()
    for poster in company.posters:
        with pytest.raises(RefusedError, match="SyncFailedError"):
            poster.reply()
    with pytest.raises(RefusedError, match="StoreFailedError"):
        writer.do("publish", "t", "0")


def test_a_group_that_its_leader_cannot_show_is_shown_by_each(rig: Rig, writer: Worker) -> None:
    company = Company(rig, "write:.jsonl=eio@2")
    company.begin()
    assert [[0, 0]] == company.leader.reply()
    # The leader's disk fails, not the others': they show it themselves.
    company.check()


def test_a_group_for_which_there_is_no_room_is_appended_by_each_alone(rig: Rig, writer: Worker) -> None:
    company = Company(rig, "allocate:.meta=enospc")
    company.begin()
    # The leader's own has no key, so it needs no metadata; one of theirs does.
    assert [[0, 0]] == company.leader.reply()
    company.check()


def test_settings_that_change_meanwhile_are_taken_over_by_each(rig: Rig, writer: Worker) -> None:
    company = Company(rig, "")
    company.leader.send("publish", "t", '"own"')
    company.gate.wait_reached()
    for number, poster in enumerate(company.posters):
        poster.send("publish", "t", f'"posted {number}"', key=KEYS[number])
    until(lambda: 2 == rig.innards.posted("t"), "two posts")
    writer.do("alter", "t", retention_bytes=1 << 30)
    company.gate.open()
    assert [[0, 0]] == company.leader.reply()
    company.check()


def test_many_processes_store_each_message_once_and_in_order(rig: Rig, writer: Worker) -> None:
    workers = [rig.worker() for _ in range(8)]
    for worker in workers:
        worker.do("crowd", "t")
    for number, worker in enumerate(workers):
        worker.send("sequence", "t", f"w{number}", 100)
    receipts = [worker.reply() for worker in workers]
    check_receipts(rig, receipts, complete=True)
    # They did it together.
    assert 800 > 2 * len(rig.batches("t"))


@pytest.mark.parametrize("step", ["combine.gathered", "combine.taken", "journal.moved", "combine.done"])
def test_many_processes_of_which_some_die_store_each_message_once_and_in_order(
    rig: Rig, writer: Worker, step: str
) -> None:
    dying = [rig.worker(f"{step}=kill@{count}") for count in (3, 7, 11)]
    stopping = [rig.worker(f"{step}=stall:30")]
    workers = [rig.worker() for _ in range(4)]
    for worker in (*dying, *stopping, *workers):
        worker.do("crowd", "t")
    for number, worker in enumerate((*dying, *stopping, *workers)):
        worker.send("sequence", "t", f"w{number}", 60)
    check_receipts(rig, [worker.reply() for worker in (*stopping, *workers)], complete=False)


def check_receipts(rig: Rig, receipts: list[object], *, complete: bool) -> None:
    values = rig.read("t")
    assert len(values) == len(set(values))
    told = 0
    for receipt in receipts:
        assert isinstance(receipt, list)
        offsets = [offset for _, offset in receipt]
        assert offsets == sorted(offsets)
        assert all(f'"{value}"' == values[offset] for value, offset in receipt)
        told += len(receipt)
    assert told == len(values) if complete else told <= len(values)


def test_the_file_of_posts_is_known_to_verify_and_goes_with_its_topic(rig: Rig, writer: Worker) -> None:
    writer.do("crowd", "t")
    writer.do("publish", "t", "0")
    assert (rig.path / "topics" / "t" / "0" / "posts").exists()
    code, out, _ = rig.run("store", "verify")
    assert 0 == code
    assert "posts" not in out
    writer.do("delete", "t")
    assert not list(rig.path.rglob("posts"))


def test_posts_of_an_earlier_epoch_say_nothing(rig: Rig, writer: Worker) -> None:
    writer.do("crowd", "t")
    writer.do("publish", "t", "0")
    other = rig.worker("combine.taken=kill")
    other.do("crowd", "t")
    other.dies_in("publish", "t", "1")
    moved = rig.worker(store=rig.copy())
    moved.do("crowd", "t")
    assert [[1, 1]] == moved.do("publish", "t", "2")
    assert ["0", "2"] == rig.read("t", store=rig.directory / "copy")
