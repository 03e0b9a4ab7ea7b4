"""Folders in an object store, by URI (``s3://bucket/prefix``), through pyarrow's file systems.

An object appears whole or not at all; there is no append, no rename and no lock. A URI may end in pyarrow's own options
(``?region=…``, ``?scheme=http&endpoint_override=127.0.0.1:9000``); the endpoint is also read from AWS_ENDPOINT_URL.
Credentials come from where the provider's own tools look for them, never from the URI.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from trainables.errors import UserError, suggestion

SCHEMES = ("s3", "gs", "abfs", "abfss")
"""Object stores that pyarrow reaches; `file` is the plain path."""

CONNECT_SECONDS, REQUEST_SECONDS = 10.0, 60.0
"""Limits of one request to S3, which is repeated a few times."""

CHUNK = 8 << 20
"""Bytes of a file that are copied at a time."""

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts of who insists."""


def is_uri(text: str) -> bool:
    """Whether this is a URI rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def check_uri(uri: str) -> None:
    """Raise `UserError` for a URI that no store has; asks no server."""
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES:
        near = suggestion(parts.scheme, SCHEMES) or f", known: {', '.join((*SCHEMES, 'file'))}"
        raise UserError(f"--root: unknown scheme{near} (got {parts.scheme}://)")
    if "@" in parts.netloc and parts.scheme == "s3":
        raise UserError("--root: credentials belong into the environment, not into a URI")
    if not parts.netloc or not parts.path.strip("/"):
        raise UserError(f"--root: must name a bucket and a folder in it, as in s3://bucket/studies (got {uri})")


def endpoint() -> str | None:
    """Where S3 is, if the environment says so."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


@dataclass(frozen=True)
class Store:
    """A folder in an object store. Names are relative to it, with slashes. All methods raise `OSError`, with the URI
    as file name, where the store does not answer or refuses (`FileNotFoundError` where there is no such object)."""

    uri: str

    def __truediv__(self, name: str | int) -> Store:
        base, mark, options = self.uri.partition("?")
        return Store(f"{base.rstrip('/')}/{name}{mark}{options}")

    def check(self) -> None:
        """Raise `UserError` unless the bucket is there and can be listed; writes nothing."""
        from pyarrow.fs import FileType

        bucket = urlsplit(self.uri).netloc
        try:
            with self._said("") as (files, base):
                # An empty listing is all that is said of a bucket that is missing.
                if not self.folders() and files.get_file_info(base.partition("/")[0]).type == FileType.NotFound:
                    raise UserError(f"--root: there is no bucket {bucket} (got {self.uri})")
        except OSError as error:
            words = str(error.strerror)
            if re.search(
                "ACCESS_DENIED|INVALID_ACCESS_KEY|[Ff]orbidden|[Cc]redential|SIGNATURE|HTTP status 403", words
            ):
                rule = "must be readable: credentials are missing, or do not allow it"
                raise UserError(f"--root: {rule} (got {self.uri}: {words})") from error
            raise UserError(f"--root: the store does not answer (got {self.uri}: {words})") from error

    def check_writable(self) -> None:
        """Raise `UserError` unless an object can be written here, and removed."""
        name = f".writable-{os.getpid()}"
        try:
            self.write(name, b"")
            self.remove(name)
        except OSError as error:
            raise UserError(f"--root: must be writable (got {self.uri}: {error.strerror})") from error

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Size in bytes of every object below the folder, by its name relative to it; empty where there is none."""
        from pyarrow.fs import FileSelector, FileType

        with self._said(folder) as (files, base):
            found = files.get_file_info(FileSelector(base, recursive=True, allow_not_found=True))
        return {i.path.removeprefix(f"{base}/"): i.size for i in found if i.type == FileType.File}

    def folders(self) -> list[str]:
        """Names of the folders right below this one, sorted."""
        from pyarrow.fs import FileSelector, FileType

        with self._said("") as (files, base):
            found = files.get_file_info(FileSelector(base, allow_not_found=True))
        return sorted(i.base_name for i in found if i.type == FileType.Directory)

    def read(self, name: str) -> bytes:
        """The content of an object."""
        with self._said(name) as (files, path), files.open_input_stream(path) as stream:
            return bytes(stream.read())

    def write(self, name: str, content: bytes) -> None:
        """Make an object, or replace it: whole or not at all."""
        with self._said(name) as (files, path), files.open_output_stream(path) as stream:
            stream.write(content)

    def upload(self, file: Path, name: str = "") -> None:
        """Make an object of a file; without a name, the one that this URI is of."""
        from pyarrow.fs import LocalFileSystem, copy_files

        with self._said(name) as (files, path):
            copy_files(str(file), path, LocalFileSystem(), files, chunk_size=CHUNK)

    def download(self, name: str, file: Path) -> None:
        """Write an object's content to a file, whose folder is made if need be."""
        from pyarrow.fs import LocalFileSystem, copy_files

        file.parent.mkdir(parents=True, exist_ok=True)
        with self._said(name) as (files, path):
            copy_files(path, str(file), files, LocalFileSystem(), chunk_size=CHUNK)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._said(name) as (files, path):
            try:
                files.delete_file(path)
            except FileNotFoundError:
                return

    def remove_all(self) -> None:
        """Remove everything below this folder."""
        with self._said("") as (files, path):
            try:
                files.delete_dir(path)
            except FileNotFoundError:
                return

    def filesystem(self) -> tuple[Any, str]:
        """pyarrow's file system and this folder's path in it."""
        return _filesystem(self.uri, endpoint())

    @contextmanager
    def _said(self, name: str) -> Iterator[tuple[Any, str]]:
        """The file system and the path of a name; errors are told in one form."""
        where = (self / name).uri if name else self.uri
        try:
            files, base = self.filesystem()
            yield files, f"{base}/{name}" if name else base
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "there is no such object", where) from error
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.filename == where:
                raise
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
                raise  # of this machine's disk
            raise OSError(errno.EIO, " ".join(str(error).split()), where) from error


@lru_cache(maxsize=64)
def _filesystem(uri: str, elsewhere: str | None) -> tuple[Any, str]:
    from pyarrow import fs

    parts = urlsplit(uri)
    path = f"{parts.netloc}/{parts.path.strip('/')}"
    if parts.scheme != "s3":
        files, path = fs.FileSystem.from_uri(uri)
        return files, path
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if "endpoint_override" not in options and elsewhere:
        options["endpoint_override"] = elsewhere
    region = options.pop("region", None) or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None:
        region = "us-east-1" if "endpoint_override" in options else fs.resolve_s3_region(parts.netloc)
    override = options.pop("endpoint_override", "")
    if "://" in override:
        options["scheme"], _, override = override.partition("://")
    files = fs.S3FileSystem(
        region=region,
        scheme=options.get("scheme", "https"),
        endpoint_override=override.rstrip("/") or None,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        allow_delayed_open=True,  # what is small is one request, and so whole or absent
    )
    return files, path


def insist(call: Callable[[], object]) -> None:
    """Call, and again for a while where the store does not answer; then raise `OSError`."""
    for pause in PAUSES:
        try:
            call()
        except OSError:
            time.sleep(pause)
        else:
            return
    call()
