"""`aegis config`: show and change settings."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from aegis_cli.options import env_of
from aegis_cli.output import note, write_json, write_line, write_table
from storage import config as settings

app = typer.Typer(
    help="""Show and change settings.

A setting comes from the first place that names it: a flag, the environment, the store's aegis.toml, the
user's config.toml, the default.

Example:
  aegis config list
  aegis config set streaming.max_message_size 4MB
"""
)

KeyArgument = Annotated[
    str,
    typer.Argument(metavar="KEY", help="The setting, such as streaming.durability.", show_default=False),
]
ValueArgument = Annotated[str, typer.Argument(metavar="VALUE", help="The new value.", show_default=False)]
UserOption = Annotated[
    bool, typer.Option("--user", help="Write it for all stores of this user.", show_default=False)
]


@app.command("list")
def list_settings(context: typer.Context) -> None:
    """Show every setting, its value and where that came from.

    Example:
      aegis config list
      aegis config list --json | jq -r 'select(.origin != "default") | .key'
    """
    env = env_of(context)
    config = settings.load(env.store_path, environ=env.environ)
    if env.json:
        for setting in config:
            write_json(env, _as_json(setting))
        return
    rows = [(setting.key.name, setting.text, setting.origin) for setting in config]
    write_table(env, ("key", "value", "origin"), rows)


@app.command("get")
def get_setting(context: typer.Context, key: KeyArgument) -> None:
    """Print the value of one setting.

    Example:
      aegis config get streaming.durability
    """
    env = env_of(context)
    setting = settings.load(env.store_path, environ=env.environ)[key]
    if env.json:
        write_json(env, _as_json(setting))
    else:
        write_line(env, setting.text)


@app.command("set")
def set_setting(
    context: typer.Context, key: KeyArgument, value: ValueArgument, user: UserOption = False
) -> None:
    """Write one setting into the store's aegis.toml, or with --user into the user's config.toml.

    Comments in that file are lost. A message already stored is not touched by any setting.

    Example:
      aegis config set streaming.durability os
      aegis config set --user streaming.default_retention 30d
    """
    env = env_of(context)
    if user:
        setting = settings.set_user_value(key, value, environ=env.environ)
    else:
        setting = settings.set_store_value(env.store_path, key, value)
    note(env, f"{setting.key.name} = {setting.text} in {setting.origin}")
    effective = settings.load(env.store_path, environ=env.environ)[key]
    if effective.origin != setting.origin:
        note(env, f"{effective.origin} says {effective.text}, which goes before it")


@app.command("path")
def show_paths(context: typer.Context) -> None:
    """Show which files are read, the one that goes before the other first.

    Example:
      aegis config path
    """
    env = env_of(context)
    paths = (("store", settings.store_file(env.store_path)), ("user", settings.user_file(env.environ)))
    rows = [(scope, path, os.path.exists(path)) for scope, path in paths]  # noqa: PTH110 - paths are text here
    if env.json:
        for scope, path, exists in rows:
            write_json(env, {"scope": scope, "path": path, "exists": exists})
        return
    write_table(env, ("scope", "path", "exists"), rows)


def _as_json(setting: settings.Setting) -> dict[str, object]:
    return {
        "key": setting.key.name,
        "value": setting.text,
        "origin": setting.origin,
        "default": setting.key.default,
        "help": setting.key.help,
    }
