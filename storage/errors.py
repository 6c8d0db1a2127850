"""Every error that the store raises.

    StorageError
    ├── InvalidNameError          a topic name outside the rules
    ├── SettingError              a configuration key or value that cannot be used
    ├── InvalidRecordError        an input line that is not one record
    ├── NotFoundError
    │   ├── StoreNotFoundError
    │   ├── TopicNotFoundError
    │   ├── PartitionNotFoundError
    │   └── GroupNotFoundError
    ├── ConflictError
    │   ├── TopicExistsError
    │   ├── TopicChangedError     deleted, recreated or widened while in use
    │   ├── OffsetConflictError   `expect_offset` did not hold
    │   ├── FencedError           somebody else owns the log by now
    │   ├── MemberFencedError     a member's place is another's by now
    │   ├── GroupInUseError       it has members
    │   └── TransactionEndedError
    ├── LockTimeoutError          somebody else holds the lock
    ├── RefusedError
    │   ├── NotAStoreError
    │   ├── NewerFormatError
    │   ├── ReadOnlyStoreError
    │   ├── UnsafeFileSystemError
    │   └── StoreFailedError      a sync failed earlier; verify first
    ├── DiskFullError
    ├── SyncFailedError
    ├── InDoubtError              who appended it together with others was stopped on the way
    ├── NotYetVisibleError        committed, but applying it failed
    └── DamageError               a checksum that fails on what was committed
        └── FileMissingError      a file of a log is not there

A message is one line, lower case, without a full stop: what is wrong, with which object, and after a
semicolon what to do. The fields carry the same facts for programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# So many members of a group a message names; the fields hold all.
_NAMED_MAX = 3


class StorageError(Exception):
    """The root: catch this to catch everything that the store raises on purpose."""


class InvalidNameError(StorageError):
    """A name of a topic (or group, or pipeline) that breaks the rules."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(
            f"{name!r} cannot be a name: {reason}; use 1 to 249 of the characters A-Z a-z 0-9 . _ -"
        )


class SettingError(StorageError):
    """A setting that is unknown or whose value cannot be used."""

    def __init__(self, key: str, reason: str, *, remedy: str, source: str | None = None) -> None:
        self.key = key
        self.reason = reason
        self.remedy = remedy
        self.source = source
        where = f" in {source}" if source else ""
        super().__init__(f"setting '{key}'{where} {reason}; {remedy}")


class InvalidRecordError(StorageError):
    """An input line that is not exactly one record.

    `line` counts from 1 over all of the input; `published` is how many records before it were stored and
    acknowledged, `None` while nobody has said so yet.
    """

    def __init__(self, line: int, reason: str, *, remedy: str, published: int | None = None) -> None:
        self.line = line
        self.reason = reason
        self.remedy = remedy
        self.published = published
        super().__init__(f"line {line}: {reason}; {remedy}")


class NotFoundError(StorageError):
    """Something that was named does not exist."""


class StoreNotFoundError(NotFoundError):
    """There is no store at this place."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(
            f"no store at {path}; 'aegis topic create NAME' makes one, or name another with --store"
        )


class TopicNotFoundError(NotFoundError):
    """No topic of this name; `suggestion` is the nearest existing name, if any is near."""

    def __init__(self, name: str, suggestion: str | None = None) -> None:
        self.name = name
        self.suggestion = suggestion
        remedy = f"did you mean '{suggestion}'?" if suggestion else f"'aegis topic create {name}' makes it"
        super().__init__(f"topic '{name}' not found; {remedy}")


class PartitionNotFoundError(NotFoundError):
    """The topic has no partition of this number."""

    def __init__(self, topic: str, partition: int, partitions: int) -> None:
        self.topic = topic
        self.partition = partition
        self.partitions = partitions
        super().__init__(
            f"topic '{topic}' has no partition {partition}; it has {partitions}, numbered from 0"
        )


class GroupNotFoundError(NotFoundError):
    """No consumer group of this name; `suggestion` is the nearest existing name, if any is near."""

    def __init__(self, name: str, existing: Iterable[str] = ()) -> None:
        from storage.names import suggest

        self.name = name
        self.suggestion = suggest(name, existing)
        remedy = f"did you mean '{self.suggestion}'?" if self.suggestion else "'aegis group list' shows all"
        super().__init__(f"group '{name}' not found; {remedy}")


class ConflictError(StorageError):
    """The state is not what the caller's request relies on."""


class TopicExistsError(ConflictError):
    """A topic of this name, or of one that differs only in case, exists."""

    def __init__(self, name: str, existing: str) -> None:
        self.name = name
        self.existing = existing
        same = "" if name == existing else f" as '{existing}' (names are compared without case)"
        super().__init__(f"topic '{name}' already exists{same}; choose another name or pass --if-not-exists")


class TopicChangedError(ConflictError):
    """The topic was deleted, or deleted and created again, since it was opened."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"topic '{name}' was deleted or recreated meanwhile; open it again")


class MemberFencedError(ConflictError):
    """A member commits what is not its own any more: it was away for longer than its session timeout."""

    def __init__(
        self,
        group: str,
        member: str,
        topic: str | None = None,
        partition: int | None = None,
        *,
        was_reset: bool = False,
    ) -> None:
        self.group = group
        self.member = member
        self.topic = topic
        self.partition = partition
        self.was_reset = was_reset
        what = "everything" if topic is None else f"topic '{topic}' partition {partition}"
        if was_reset:
            how = f"was set to another position in {what}, nothing was committed; go on from there"
        else:
            how = f"has given {what} to another member, nothing was committed; join it again"
        super().__init__(f"group '{group}' {how}")


class OutputFileError(ConflictError):
    """A file is shorter than what was delivered to it; sizes in bytes."""

    def __init__(self, path: str, committed_bytes: int, size_bytes: int) -> None:
        self.path = path
        self.committed_bytes = committed_bytes
        self.size_bytes = size_bytes
        super().__init__(
            f"{path} has {size_bytes} bytes, but {committed_bytes} were delivered to it; "
            "bring it back, or name another file"
        )


class GroupInUseError(ConflictError):
    """The group has members that live. `processes` says in words which process each of them is."""

    def __init__(self, name: str, members: Sequence[str], processes: Sequence[str]) -> None:
        self.name = name
        self.members = tuple(members)
        self.processes = tuple(processes)
        named = ", ".join(processes[:_NAMED_MAX])
        more = f" and {len(processes) - _NAMED_MAX} more" if len(processes) > _NAMED_MAX else ""
        who, them = (f"{len(members)} members", "them") if len(members) > 1 else ("a member", "it")
        super().__init__(f"group '{name}' has {who}: {named}{more}; end {them} first")


class TransactionEndedError(ConflictError):
    """The transaction was committed or dropped already."""

    def __init__(self) -> None:
        super().__init__("the transaction has ended already; begin another one")


class FencedError(ConflictError):
    """Somebody else owns the log by now: its generation is another than the one that the append relies on."""

    def __init__(self, name: str, expected: int, actual: int) -> None:
        self.name = name
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"'{name}' is at generation {actual}, not {expected}; somebody else has taken over, read it again"
        )


class OffsetConflictError(ConflictError):
    """A conditional append found the log at another offset than expected."""

    def __init__(self, topic: str, partition: int, expected: int, actual: int) -> None:
        self.topic = topic
        self.partition = partition
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"topic '{topic}' partition {partition} is at offset {actual}, not {expected}; "
            f"nothing was published; read on to {actual} and decide again"
        )


class LockTimeoutError(StorageError):
    """A lock was not free within the time allowed."""

    def __init__(self, what: str, holder: str, waited_seconds: float) -> None:
        self.what = what
        self.holder = holder
        self.waited_seconds = waited_seconds
        super().__init__(
            f"{what} is locked by {holder}, waited {waited_seconds:g} s; "
            "wait for that process or end it, or allow more time with --lock-wait"
        )


class RefusedError(StorageError):
    """The store will not do this here, or not now."""


class NotAStoreError(RefusedError):
    """The directory holds something, but not a store."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} is not a store: {reason}; name an empty directory or a store")


class NewerFormatError(RefusedError):
    """The store asks for a newer version of this program."""

    def __init__(self, path: str, needed: int, known: int, *, action: str) -> None:
        self.path = path
        self.needed = needed
        self.known = known
        self.action = action
        super().__init__(
            f"store {path} needs format {needed} to {action} and this aegis knows {known}; upgrade aegis"
        )


class ReadOnlyStoreError(RefusedError):
    """A write to a store that cannot be written."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"store {path} is read-only; check its permissions and how it is mounted")


class UnsafeFileSystemError(RefusedError):
    """A file system whose locks or syncs cannot be relied upon."""

    def __init__(self, path: str, kind: str) -> None:
        self.path = path
        self.kind = kind
        super().__init__(
            f"store {path} lies on {kind}, whose locks cannot be relied upon; "
            "move it to a local disk, or set AEGIS_FORCE_FILESYSTEM=1 and use it from one machine only"
        )


class StoreFailedError(RefusedError):
    """A sync failed earlier, so what the disk holds is in doubt until it was verified."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"store {path} refuses writes since a sync failed ({reason}); run 'aegis store repair'"
        )


class DiskFullError(StorageError):
    """There is no room for what was to be written; nothing of it was."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"no space left for {path}; nothing of this append was stored; free some space")


class SyncFailedError(StorageError):
    """The kernel could not make something durable; it is not acknowledged."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"syncing {path} failed ({reason}), so the last append is in doubt; run 'aegis store repair'"
        )


class InDoubtError(StorageError):
    """Whether the append happened cannot be known: who was at it for several writers did not end it."""

    def __init__(self, topic: str, partition: int, reason: str) -> None:
        self.topic = topic
        self.partition = partition
        self.reason = reason
        super().__init__(
            f"topic '{topic}' partition {partition}: the last append is in doubt ({reason}); "
            "look at the end of the topic before you publish it again"
        )


class NotYetVisibleError(StorageError):
    """The append is committed and durable, but readers cannot see it yet."""

    def __init__(self, topic: str, partition: int, reason: str) -> None:
        self.topic = topic
        self.partition = partition
        self.reason = reason
        super().__init__(
            f"topic '{topic}' partition {partition}: committed, not yet visible ({reason}); "
            "do not publish it again; the next append that succeeds shows it"
        )


class DamageError(StorageError):
    """Committed bytes that no longer match their checksum."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} is damaged: {reason}; run 'aegis store verify'")


class FileMissingError(DamageError, FileNotFoundError):
    """A file that a log needs is not there; a `FileNotFoundError` too, for who knows why it may be gone."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "it is missing")
