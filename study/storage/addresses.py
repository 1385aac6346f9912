"""Addresses of shared databases: checked before use, shown without passwords."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dcgan.errors import UsageError


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, from which SQLAlchemy and MLflow read exactly this path.

    SQLAlchemy takes `%41` for a quoted character and `?` for the end of the path, and Optuna fills
    in `{}`. For a URL with the plain name `sqlite`, MLflow makes the folder of what is written
    there, quoted or not.
    """
    quoted = str(path)
    for character in "%?{}":  # % first
        quoted = quoted.replace(character, f"%{ord(character):02X}")
    return f"sqlite{'' if quoted == str(path) else '+pysqlite'}:///{quoted}"


def check_storage_url(url: str) -> str:
    """The URL of a shared Optuna database, with the driver that the `postgres` extra installs.

    Raises `UsageError` unless it is the URL of a PostgreSQL database.
    """
    scheme, _, rest = url.partition("://")
    if scheme in ("postgresql", "postgres", "postgresql+psycopg") and rest.strip("/"):
        return f"postgresql+psycopg://{rest}"
    raise UsageError(
        f"'{hide_password(url)}' is not the URL of a PostgreSQL database, as in "
        "postgresql://USER:PASSWORD@HOST:5432/DATABASE; without --storage the study's database is "
        "a SQLite file in the results folder (--store DIR)"
    )


def check_tracking_uri(uri: str) -> str:
    """The address of an MLflow server; raises `UsageError` unless it is a web address."""
    if not re.fullmatch(r"https?://[^/].*", uri):
        raise UsageError(
            f"'{hide_password(uri)}' is not the address of an MLflow server, as in "
            "http://HOST:5000; without --tracking-uri MLflow's database is a file in the results "
            "folder (--store DIR)"
        )
    return uri.rstrip("/")


def check_shared_address(address: str) -> str:
    """The address of a place for trials' folders; the absolute path of a folder.

    Raises `UsageError` for an address with a password, which messages and the database would show.
    """
    scheme, separator, rest = address.partition("://")
    if separator and scheme != "file":
        before, at, _ = rest.rpartition("@")
        if (at and ":" in before) or "?" in rest:
            raise UsageError(
                f"the address at {scheme}:// has a password or a query in it, which the study's "
                "database would keep; use the variables of its library, as AWS_SECRET_ACCESS_KEY"
            )
        if not rest.strip("/"):
            raise UsageError(f"'{address}' names no bucket or folder, as in s3://BUCKET/FOLDER")
        return address.rstrip("/")
    if not separator and re.match(r"[a-z0-9]{2,}:/", address):
        raise UsageError(f"'{address}' is no address; did you mean {address.replace(':/', '://')}?")
    return os.path.realpath(Path(rest if separator else address).expanduser())


def hide_password(url: str) -> str:
    """A URL for messages and logs."""
    url = url.replace("postgresql+psycopg://", "postgresql://")
    url = re.sub(r"(?i)(password=)[^&]*", r"\1***", url)
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    user, at, place = rest.rpartition("@")  # the last one: a password may contain others
    if not at:
        return url
    return f"{scheme}{separator}{user.partition(':')[0]}:***@{place}"


def without_user(url: str) -> str:
    """A URL without user and password, as for a link to print."""
    return re.sub(r"://[^/]*@", "://", url)
