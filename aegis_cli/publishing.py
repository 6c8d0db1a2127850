"""The ways to publish an input: line by line as it comes, all at once, or as a producer that can resume."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aegis_cli.context import Env
from aegis_cli.output import note, progress
from storage.batch import Receipt
from storage.errors import InvalidRecordError
from storage.intake import Intake, IntakeOptions
from storage.lines import binary_value
from storage.publish import Published, publish_stream
from storage.store import Store
from storage.topic import Topic

if TYPE_CHECKING:
    from storage.atomic import Gathering


class _Opened(NamedTuple):
    """An input that is open for reading."""

    fd: int
    name: str
    on_progress: Callable[[int], None] | None


class Publishing(NamedTuple):
    """What is published: stdin or `file`, counted in `published`. `intake_of` makes the intake of a topic."""

    env: Env
    store: Store
    intake_of: Callable[[Topic], Intake]
    file: str | None
    linger_ms: int
    on_receipts: Callable[[list[Receipt]], None] | None
    published: Published

    def as_it_comes(self, topic: Topic) -> None:
        """Publish step by step."""
        intake = self.intake_of(topic)
        with _opened(self.env, self.file) as source:
            publish_stream(
                self.store,
                intake,
                source.fd,
                name=source.name,
                linger_ms=self.linger_ms,
                on_receipts=self.on_receipts,
                on_progress=source.on_progress,
                published=self.published,
            )

    def at_once(self, topic: Topic) -> None:
        """Publish all of the input to one topic, or nothing."""
        from storage.atomic import Gathered

        self._at_once(Gathered(self.intake_of(topic)))

    def to_many_topics(self, field: str, *, line_bytes_max: int) -> None:
        """Publish all of the input to the topics that its lines name in a field, or nothing."""
        from aegis_cli.exits import UsageError
        from storage.topic_field import ManyTopics

        try:
            gathering = ManyTopics(
                field, lambda name: self.intake_of(self.store.topic(name)), line_bytes_max=line_bytes_max
            )
        except ValueError as error:
            raise UsageError(f"--topic-field: {error}") from error
        self._at_once(gathering)

    def _at_once(self, gathering: Gathering) -> None:
        from storage.atomic import publish_atomic

        with _opened(self.env, self.file) as source:
            publish_atomic(
                self.store,
                gathering,
                source.fd,
                name=source.name,
                on_receipts=self.on_receipts,
                on_progress=source.on_progress,
                published=self.published,
            )

    def as_producer(self, name: str, topic: Topic, options: IntakeOptions) -> None:
        """Publish what the producer has not published before."""
        from storage.producer import Producer
        from storage.producer_input import publish_resumable

        # What cannot be carried out is refused before a producer is made of it.
        self.intake_of(topic)
        with Producer(self.store, name) as producer, _opened(self.env, self.file) as source:
            publish_resumable(
                self.store,
                producer,
                topic,
                options,
                source.fd,
                name=source.name,
                linger_ms=self.linger_ms,
                on_receipts=self.on_receipts,
                on_progress=source.on_progress,
                published=self.published,
            )


@contextmanager
def _opened(env: Env, file: str | None) -> Iterator[_Opened]:
    """Stdin or a file, with a progress bar for a file."""
    if file is None or file == "-":
        if env.stdin_is_terminal:
            note(env, "reading from the terminal, one record a line; end with Ctrl-D")
        yield _Opened(0, "standard input", None)
        return
    with Path(file).open("rb", buffering=0) as source:
        size_bytes = os.fstat(source.fileno()).st_size
        with progress(env, f"publishing {file}", total=size_bytes or None) as bar:
            yield _Opened(source.fileno(), file, bar.advance)


def binary_values(
    values: list[bytes], file: str | None, *, max_record_bytes: int, empty_is_null: bool
) -> list[bytes]:
    """Values of bytes, or the whole input as one, as the JSON that stands for them."""
    if not values:
        from_stdin = file is None or file == "-"
        with open(0, "rb", closefd=False) if from_stdin else Path(str(file)).open("rb") as stream:
            values = [stream.read(max_record_bytes + 1)]
        if len(values[0]) > max_record_bytes:
            raise InvalidRecordError(
                1,
                f"the input has more than {max_record_bytes} bytes, which is max_message_size",
                remedy="raise the limit with 'aegis config set streaming.max_message_size'",
                published=0,
            )
    return [b"null" if empty_is_null and not value else binary_value(value) for value in values]
