"""SPAN files as streams: plain, gzip or zip; and where in a file a record stands."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers import expat

from pricing.errors import DataError, Problem

CHUNK = 1 << 16
XML_ENDINGS = (".spn", ".xml")
POSITIONAL_ENDINGS = (".pa2", ".pa5", ".par")
PACKED_ENDINGS = ("", ".gz", ".zip")


class BadRecord(Exception):
    """What is wrong with one record; whoever knows its place makes a `DataError` of it.

    at  the element itself, None where that is the one being read
    """

    def __init__(self, field: str, value: object, remedy: str, at: Any = None) -> None:
        self.field, self.value, self.remedy, self.at = field, value, remedy, at
        super().__init__(field, value, remedy)


def is_span_name(path: str | Path) -> bool:
    """Whether a name is one of a SPAN file."""
    name = str(path).lower()
    return name.endswith(tuple(e + p for e in (".spn", *POSITIONAL_ENDINGS) for p in PACKED_ENDINGS))


def is_positional_name(path: str | Path) -> bool:
    """Whether a name is one of a positional SPAN file."""
    return str(path).lower().endswith(tuple(e + p for e in POSITIONAL_ENDINGS for p in PACKED_ENDINGS))


def refuse_record(file: str, place: str | None, field: str, value: object, remedy: str) -> NoReturn:
    """Raise a DataError about one record."""
    raise DataError([Problem(file, place, field, value, remedy)])


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """The content of a file, unpacked while it is read. DataError where it cannot be read or is cut short.

    What is wrong with a packed file is said with the byte of its content up to which it could be read.
    """
    file = str(path)
    reached = None
    try:
        with Path(path).open("rb") as raw:
            start = raw.read(4)
            raw.seek(0)
            if start[:2] == b"\x1f\x8b":
                with gzip.open(raw) as stream:
                    try:
                        yield stream
                    finally:
                        reached = stream.tell()
            elif start == b"PK\x03\x04":
                with zipfile.ZipFile(raw) as archive:
                    members = [name for name in archive.namelist() if not name.endswith("/")]
                    if len(members) != 1:
                        refuse_record(file, None, "archive", members[:5], "must hold exactly one file")
                    with archive.open(members[0]) as stream:
                        try:
                            yield stream
                        finally:
                            reached = stream.tell()
            else:
                yield raw
    except FileNotFoundError:
        refuse_record(file, None, "file", Path(path).name, "no such file")
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, NotImplementedError) as error:
        place = None if reached is None else f"byte {reached} of what is packed"
        refuse_record(file, place, "archive", str(error), "is damaged or cut short")
    except OSError as error:
        refuse_record(file, None, "file", Path(path).name, f"cannot be read: {error.strerror or error}")


class Found(Exception):
    """Ends a parse as soon as what was looked for is known."""


def refuse_doctype(path: str | Path) -> None:
    """DataError where an XML file declares a document type: entities are expanded by no reader of ours.

    A document type can stand before the first element only, so nothing behind that is looked at.
    """
    parser = expat.ParserCreate()

    def doctype(*_: Any) -> None:
        remedy = "a SPAN file declares no document type; entities are not expanded"
        refuse_record(str(path), f"line {parser.CurrentLineNumber}", "DOCTYPE", "<!DOCTYPE", remedy)

    def element(*_: Any) -> None:
        raise Found

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = element
    with opened(path) as stream:
        try:
            while chunk := stream.read(CHUNK):
                parser.Parse(chunk, False)
        except (Found, expat.ExpatError):
            return
        except (LookupError, ValueError, TypeError) as error:
            refuse_record(str(path), "line 1", "encoding", str(error), "is none that XML is read in: save it as UTF-8")
