"""`aegis store`: verify what is stored, repair what is damaged, look into the journal."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from aegis_cli.context import Env
from aegis_cli.exits import ExitCode
from aegis_cli.options import DryRunOption, LockWaitOption, YesOption, env_of
from aegis_cli.output import confirm, note, write_json, write_line, write_table
from aegis_cli.store_access import lock_wait_seconds
from storage.finding import Finding
from storage.journal_listing import journal_records
from storage.repair import repair as repair_store
from storage.repair_log import Repair
from storage.verify import verify as verify_store

app = typer.Typer(
    help="""Verify and repair a store, and look into its journal.

Example:
  aegis store verify
  aegis store repair --dry-run
"""
)

CountOption = Annotated[
    int | None,
    typer.Option("-n", metavar="N", min=1, help="Only the newest N records.", show_default=False),
]


@app.command("verify")
def verify(context: typer.Context) -> int:
    """Read everything that is stored and say what is not as it should be.

    Needs no lock and writes nothing, so it may run at any time. Exits with 5 if something is damaged.

    Example:
      aegis store verify
      aegis store verify --json | jq 'select(.severity == "damage")'
    """
    env = env_of(context)
    damages = notices = 0
    for finding in verify_store(env.store_path):
        if finding.is_damage:
            damages += 1
        else:
            notices += 1
        _write_finding(env, finding)
    if damages:
        note(env, f"{_count(damages, 'damage')} and {_count(notices, 'notice')}")
        return ExitCode.DAMAGED
    note(env, f"no damage, {_count(notices, 'notice')}")
    return ExitCode.OK


@app.command("repair")
def repair(
    context: typer.Context,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    lock_wait: LockWaitOption = None,
) -> int:
    """Write again what the journal still holds, mend what can be mended, set the rest aside.

    Nothing that is valid is removed: damaged bytes are copied into the store's quarantine/, and their
    offsets stay a known gap. After a failed sync it writes and syncs everything anew, and the store takes
    writes again. Exits with 5 if something is left that a person has to look after.

    Example:
      aegis store repair --dry-run
      aegis store repair --yes
    """
    env = env_of(context)
    if dry_run:
        findings = [finding for finding in verify_store(env.store_path) if finding.is_damage]
        for finding in findings:
            _write_finding(env, finding)
        note(env, f"would look after {_count(len(findings), 'damage')}")
        return ExitCode.OK
    if not confirm(env, f"repair the store {env.store_path}?", yes=yes):
        note(env, "nothing was changed")
        return ExitCode.FAILED
    repairs = repair_store(env.store_path, lock_wait_seconds=lock_wait_seconds(lock_wait))
    for done in repairs:
        _write_repair(env, done)
    left = sum(done.action == "left" for done in repairs)
    note(env, f"{_count(len(repairs) - left, 'repair')}, {left} left" if repairs else "nothing to repair")
    return ExitCode.DAMAGED if left else ExitCode.OK


@app.command("journal")
def journal(context: typer.Context, count: CountOption = None) -> None:
    """List the records of the journal that are not checkpointed yet, oldest first.

    Example:
      aegis store journal -n 20
      aegis store journal --json | jq .sequence
    """
    env = env_of(context)
    records = journal_records(env.store_path, newest=count)
    if env.json:
        for record in records:
            write_json(env, record)
        return
    rows = [
        (
            record.sequence,
            record.file,
            record.position,
            record.size_bytes,
            record.synced,
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.written_ms / 1000)),
            record.process,
            ", ".join(part.text for part in record.parts),
        )
        for record in records
    ]
    write_table(env, ("sequence", "file", "position", "bytes", "synced", "written", "process", "parts"), rows)


def _write_finding(env: Env, finding: Finding) -> None:
    if env.json:
        write_json(env, finding)
        return
    offsets = ""
    if finding.first_offset is not None and finding.end_offset is not None:
        last = finding.end_offset - 1
        which = (
            f"offset {last}" if last == finding.first_offset else f"offsets {finding.first_offset} to {last}"
        )
        offsets = f" ({which})"
    write_line(env, f"{finding.severity.value}: {finding.path}: {finding.detail}{offsets}; {finding.remedy}")


def _write_repair(env: Env, done: Repair) -> None:
    if env.json:
        write_json(env, done)
        return
    where = f"; the bytes are in {done.copy}" if done.copy else ""
    write_line(env, f"{done.action}: {done.path}: {done.detail}{where}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
