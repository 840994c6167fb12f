"""Request bodies: strict JSON, and files that stream to disk while they arrive.

What it is not: the meaning of fields. An upload is written once, under DATA_DIR/uploads, and
hashed on the way; what no route keeps is removed when the request ends.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from pathlib import Path
from typing import Any, NoReturn

from apiflask import APIFlask
from flask import Request
from flask.json.provider import DefaultJSONProvider
from werkzeug.formparser import FormDataParser

from server.http.errors import bad_request
from server.jobs.files import JobFiles

JSON_MAX_BYTES = 1024 * 1024
# The parser holds this against its whole buffer of 64 KiB and more, not only against a field.
FORM_FIELD_MAX_BYTES = 512 * 1024
FORM_MAX_PARTS = 32
JSON_MAX_DEPTH = 32


class Upload(io.RawIOBase):
    """A file being received. `path` is where its bytes lie, `sha256` their hash so far."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.size = 0
        self._hash = hashlib.sha256()
        self._kept = False
        # The werkzeug parser owns this object and closes it with the request.
        self._file = path.open("wb", buffering=1024 * 1024)

    @property
    def sha256(self) -> str:
        """Hash of what was received, in hex."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        """It can be written."""
        return True

    def write(self, data: Any, /) -> int:
        """Take the next bytes."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Called by the parser at the end of the part: all is received."""
        self._file.flush()
        return self._file.tell()

    def sync(self) -> None:
        """Make the bytes survive a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def rename(self, target: Path) -> None:
        """Give the file its name. It still goes with the request unless `settle` is called."""
        self.path = self.path.replace(target)

    def settle(self) -> None:
        """A job owns the file now: it outlives the request."""
        self._kept = True

    def drop(self) -> None:
        """Close, and remove the file unless it was kept."""
        self._file.close()
        self.close()
        if not self._kept:
            self.path.unlink(missing_ok=True)


class StreamedRequest(Request):
    """A request whose files go straight to disk and whose broken forms are refused."""

    uploads_dir: Path

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> Any:
        upload = Upload(self.uploads_dir / f"part-{secrets.token_hex(12)}")
        self.uploads.append(upload)
        return upload

    @property
    def uploads(self) -> list[Upload]:
        """All files of this request, kept or not."""
        held: list[Upload] = self.__dict__.setdefault("held_uploads", [])
        return held

    def make_form_data_parser(self) -> FormDataParser:
        """A parser that says what it cannot read; werkzeug's own returns an empty form."""
        parser = super().make_form_data_parser()
        parser.silent = False
        return parser

    def _load_form_data(self) -> None:
        try:
            super()._load_form_data()
        except ValueError as error:
            raise bad_request(
                f"the form cannot be read ({error}): it is damaged or was cut off",
                code="invalid_body",
            ) from error


class StrictJson(DefaultJSONProvider):
    """JSON as RFC 8259 has it: no NaN, no bottomless nesting, no NUL in strings."""

    sort_keys = False

    def loads(self, s: str | bytes, **_kwargs: Any) -> Any:
        """The value, or a 400 that says what is wrong."""
        return parse_json(s)


def parse_json(raw: str | bytes) -> Any:
    """Parse a request's JSON.

    Raises:
        ApiError: 400 with the reason.
    """
    try:
        value = json.loads(raw, parse_constant=_no_constant)
    except RecursionError:
        raise _bad_json(f"nested deeper than {JSON_MAX_DEPTH} levels") from None
    except ValueError as error:
        raise _bad_json(str(error)) from None
    _check(value)
    return value


def _check(value: Any) -> None:
    level = [value]
    for _ in range(JSON_MAX_DEPTH):
        if not level:
            return
        level = [part for item in level for part in _parts(item)]
    if level:
        raise _bad_json(f"nested deeper than {JSON_MAX_DEPTH} levels")


def _parts(item: Any) -> list[Any]:
    if isinstance(item, str):
        _check_text(item)
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    return item if isinstance(item, list) else []


def _check_text(text: str) -> None:
    if "\0" in text:
        raise _bad_json("a string contains NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _bad_json("a string contains half of a surrogate pair") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _bad_json(why: str) -> Exception:
    return bad_request(f"the body is not valid JSON: {why}", code="invalid_json")


def install(app: APIFlask, files: JobFiles, max_upload_bytes: int) -> None:
    """Make an app receive bodies in this way."""
    app.request_class = type("BoundRequest", (StreamedRequest,), {"uploads_dir": files.uploads})
    app.json = StrictJson(app)
    app.config["MAX_CONTENT_LENGTH"] = max_upload_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = FORM_FIELD_MAX_BYTES
    app.config["MAX_FORM_PARTS"] = FORM_MAX_PARTS
