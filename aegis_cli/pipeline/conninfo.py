"""How a PostgreSQL server is reached, as a pipeline file says it: a URL, or words like `host=db dbname=x`.

A file is not trusted: it may say which server, database and user, and how the connection is secured, but
name no file to be read and nothing to be run. Those, and secrets, come from the environment of who runs the
pipeline. Promises: no message of an error and no `address` holds a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

SCHEMES = ("postgresql://", "postgres://")
ALLOWED = (
    *("host", "hostaddr", "port", "dbname", "user", "password", "service", "application_name"),
    *("connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    *("tcp_user_timeout", "target_session_attrs", "load_balance_hosts"),
    *("sslmode", "sslnegotiation", "ssl_min_protocol_version", "channel_binding", "require_auth"),
    *("gssencmode",),
)
# What libpq knows besides. These read or write files, give the session settings, or hand on credentials.
REFUSED = (
    *("passfile", "servicefile", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslcrldir"),
    *("sslkeylogfile", "sslcertmode", "sslcompression", "sslsni", "ssl_max_protocol_version"),
    *("options", "replication", "client_encoding", "fallback_application_name", "requirepeer", "krbsrvname"),
    *("gsslib", "gssdelegation", "min_protocol_version", "max_protocol_version"),
    *("scram_client_key", "scram_server_key", "oauth_issuer", "oauth_client_id", "oauth_client_secret"),
    "oauth_scope",
)
_PLACES = ("host", "hostaddr", "port")
_WORD = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)")
_ESCAPED = re.compile(r"\\(.)")
_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(\[[^\]]*\]|[^:,\[\]]*)(?::([0-9]*))?")
_HINT = "write postgresql://HOST/DATABASE, or words like host=HOST dbname=DATABASE"


class ConninfoError(ValueError):
    """No connection, or one that a file may not ask for; the message says why, without a secret."""


@dataclass(frozen=True, slots=True)
class Conninfo:
    """What was said of a connection. What was not comes from the environment."""

    parameters: dict[str, str]

    @property
    def address(self) -> str:
        """The connection as it may be shown: all but the password."""
        told = self.parameters
        user = f"{told['user']}@" if "user" in told else ""
        service = told.get("service")
        if service is not None:
            return f"postgresql:service={service}"
        hosts = (told.get("host") or told.get("hostaddr", "")).split(",")
        ports = told.get("port", "").split(",")
        ports = ports * len(hosts) if len(ports) == 1 else ports
        places = ",".join(
            f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False)
        )
        database = f"/{told['dbname']}" if "dbname" in told else ""
        return f"postgresql://{user}{places}{database}"


def parse_conninfo(text: str) -> Conninfo:
    """What `text` says. Raises `ConninfoError`."""
    is_url = text.startswith(SCHEMES)
    pairs = _of_url(text.partition("://")[2]) if is_url else _of_words(text)
    told: dict[str, str] = {}
    for name, value in pairs:
        if name in REFUSED:
            raise ConninfoError(f"'{name}' may not stand in a pipeline's file; set it in the environment")
        if name not in ALLOWED:
            raise ConninfoError(f"it has a parameter that is not known; there are: {', '.join(ALLOWED)}")
        if name in told:
            raise ConninfoError(f"'{name}' is given twice")
        if not value.isprintable():
            raise ConninfoError(f"'{name}' holds a character that no connection has")
        if value:
            told[name] = value
    if "=" in told.get("dbname", ""):
        raise ConninfoError("'dbname' must be a name, not another connection")
    if "service" in told and any(name in told for name in _PLACES):
        # The secrets of a service are for its own server.
        raise ConninfoError("'service' says which server it is; leave out 'host', 'hostaddr' and 'port'")
    return Conninfo(told)


def _of_words(text: str) -> list[tuple[str, str]]:
    found = []
    end = 0
    while text[end:].strip():
        word = _WORD.match(text, end)
        if word is None:
            raise ConninfoError(f"it is no connection; {_HINT}")
        quoted, plain = word[2], word[3]
        found.append((word[1], _ESCAPED.sub(r"\1", plain if quoted is None else quoted)))
        end = word.end()
    return found


def _of_url(rest: str) -> list[tuple[str, str]]:
    """The parts behind `postgresql://`."""
    rest, _, query = rest.partition("?")
    authority, _, database = rest.partition("/")
    account, at, places = authority.rpartition("@")
    found = []
    if at:
        user, colon, password = account.partition(":")
        found.append(("user", _decoded(user)))
        if colon:
            found.append(("password", _decoded(password)))
    hosts, ports = [], []
    for place in places.split(","):
        parts = _HOST.fullmatch(place)
        if parts is None:
            raise ConninfoError(f"it is no URL of a server; {_HINT}")
        hosts.append(_decoded(parts[1]).strip("[]"))
        ports.append(parts[2] or "")
    if any(hosts):
        found.append(("host", ",".join(hosts)))
    if any(ports):
        found.append(("port", ",".join(ports)))
    if database:
        if "@" in database or "/" in database:
            # Most likely it is a password with a slash in it.
            raise ConninfoError(f"it is no URL of a server; {_HINT}, and in a password %2F for '/'")
        found.append(("dbname", _decoded(database)))
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConninfoError("behind its '?' there must be parameters like sslmode=require")
        found.append((name, _decoded(value)))
    return found


def _decoded(text: str) -> str:
    """`text` with its %XX replaced."""
    if _PERCENT.search(text):
        raise ConninfoError("a '%' in it must be followed by two hexadecimal digits; '%' itself is '%25'")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConninfoError("what its %XX say is no UTF-8") from None
