"""The strict reading of an uploaded CSV: what makes a whole job fail before any row is looked at.

Texts recorded from real orgs: unknown field, line ending, unescaped quote (Bulk API 2.0 job
`errorMessage`; also what a byte order mark leads to). The other texts carry the real code and are
worded by the stand-in, since no record of them was found; they are marked so below.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path

import duckdb

DELIMITERS = {
    "BACKQUOTE": "`",
    "CARET": "^",
    "COMMA": ",",
    "PIPE": "|",
    "SEMICOLON": ";",
    "TAB": "\t",
}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}

HEADER_CHARACTERS = 32_000
"""Bulk API 2.0 Developer Guide v66, "Limits": characters of a CSV header row."""
MAX_RECORD_BYTES = 4 * 400_000 + 200_000
"""400,000 characters (limits cheat sheet, "Bulk API"), four bytes each, and their quotes."""
BLOCK = 4 << 20

UNESCAPED_QUOTE = (
    "InvalidBatch : Failed to parse CSV. Found unescaped quote. "
    "A value with quote should be within a quote"
)


class CsvError(Exception):
    """The file cannot be a job's data; the text is the job's errorMessage."""


def read_header(path: Path, line_ending: str, delimiter: str) -> list[str]:
    """Check the file's structure from end to end and return its header.

    Raises:
        CsvError: with the job's errorMessage.
    """
    _check_bytes(path, line_ending, delimiter.encode())
    with path.open("rb") as file:
        start = file.read(4 * HEADER_CHARACTERS + 1)
    end = start.find(b"\n")
    text = (start if end < 0 else start[:end]).decode(errors="replace").removesuffix("\r")
    if not text:
        # Worded by the stand-in.
        raise CsvError("InvalidBatch : Failed to parse CSV. The file has no header row")
    if len(text) > HEADER_CHARACTERS:
        # Worded by the stand-in.
        raise CsvError(f"InvalidBatch : Header row is longer than {HEADER_CHARACTERS} characters")
    header = next(csv.reader([text], delimiter=delimiter))
    for name in header:
        if header.count(name) > 1:
            # Worded by the stand-in.
            raise CsvError(f"InvalidBatch : Duplicate field name : {name}")
    return header


def load_rows(
    con: duckdb.DuckDBPyConnection, path: Path, columns: int, line_ending: str, delimiter: str
) -> int:
    """Load the file's rows into the temporary table `upload`: r (0 for the first), c0, c1, ...

    Empty values are NULL. Call it after `read_header`.

    Returns:
        The number of rows.
    Raises:
        CsvError: a row does not have as many values as the header.
    """
    types = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(columns))
    # A CRLF file was checked to be one throughout: DuckDB is told its true terminator.
    terminator = {"LF": r"\n", "CRLF": r"\r\n"}[line_ending]
    try:
        con.execute(
            "CREATE OR REPLACE TEMP TABLE upload AS SELECT row_number() OVER () - 1 AS r, * "
            f"FROM read_csv(?, columns = {{{types}}}, delim = ?, new_line = '{terminator}', "
            "auto_detect = false, header = false, skip = 1, quote = '\"', escape = '\"', "
            f"strict_mode = true, max_line_size = {MAX_RECORD_BYTES}, "
            f"buffer_size = {4 * MAX_RECORD_BYTES})",
            [str(path), delimiter],
        )
    except duckdb.InvalidInputException as error:
        reason = str(error).splitlines()
        detail = next((line for line in reason if line.startswith("Expected Number")), reason[0])
        # Worded by the stand-in.
        raise CsvError(f"InvalidBatch : Failed to parse CSV. {detail}") from error
    counted = con.execute("SELECT count(*) FROM upload").fetchone()
    assert counted is not None
    return int(counted[0])


def count_rows(path: Path) -> int:
    """The number of rows after the header, without looking at anything else."""
    ends = 0
    is_inside = False
    last = b""
    for block in _blocks(path):
        for piece in block.split(b'"'):
            ends += 0 if is_inside else piece.count(b"\n")
            is_inside = not is_inside
        is_inside = not is_inside  # n quotes make n + 1 pieces
        last = block[-1:]
    return max(0, ends + (last not in (b"", b"\n")) - 1)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _check_bytes(path: Path, line_ending: str, delimiter: bytes) -> None:
    """Encoding, line ends, and every quote where a quote may stand."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    quotes = _Quotes(delimiter)
    held = b""
    for block in _blocks(path):
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            # Worded by the stand-in.
            raise CsvError("ClientInputError : The data is not UTF-8") from error
        whole = held + block
        held = b"\r" if whole.endswith(b"\r") else b""
        _check_line_ends(whole[: len(whole) - len(held)], line_ending)
        quotes.feed(block)
    _check_line_ends(held, line_ending)
    quotes.close()


def _check_line_ends(data: bytes, line_ending: str) -> None:
    """Refuse the other kind of line end, inside a quoted value too, as field reports have it."""
    returns = data.count(b"\r")
    if line_ending == "LF":
        right = returns == 0
    else:
        right = returns == data.count(b"\n") == data.count(b"\r\n")
    if not right:
        raise CsvError(
            "ClientInputError : LineEnding is invalid on user data. "
            f"Current LineEnding setting is {line_ending}"
        )


class _Quotes:
    """Splits the text at its quotes: what stands between two values must be delimiters."""

    def __init__(self, delimiter: bytes) -> None:
        self._starts = (delimiter, b"\n", b"\r\n")
        self._ends = (delimiter, b"\n")
        self._rest = b""
        self._inside = False
        self._first = True

    def feed(self, block: bytes) -> None:
        pieces = (self._rest + block).split(b'"')
        self._rest = pieces.pop()
        self._check(set(pieces[self._inside :: 2]) if not self._first else self._begin(pieces))
        self._inside ^= len(pieces) % 2 == 1
        self._shorten()

    def _shorten(self) -> None:
        """Of a piece that goes on in the next block only the two ends matter."""
        if self._inside:
            self._rest = b""
        elif len(self._rest) > 4:
            _refuse_blank_line(self._rest)
            self._rest = self._rest[:2] + b" " + self._rest[-2:]

    def close(self) -> None:
        if self._inside:
            raise CsvError(
                "InvalidBatch : Failed to parse CSV. EOF reached before closing an opened quote"
            )
        if self._rest and not self._first and not self._rest.startswith(self._starts):
            raise CsvError(UNESCAPED_QUOTE)
        _refuse_blank_line(self._rest)

    def _begin(self, pieces: list[bytes]) -> set[bytes]:
        """The text before the first quote only has to end well."""
        if not pieces:
            return set()
        self._first = False
        if pieces[0] and not pieces[0].endswith(self._ends):
            raise CsvError(UNESCAPED_QUOTE)
        _refuse_blank_line(pieces[0])
        return set(pieces[2::2])

    def _check(self, outside: set[bytes]) -> None:
        """An empty piece is a doubled quote; others begin and end at a delimiter or line end."""
        for piece in outside:
            if piece and not (piece.startswith(self._starts) and piece.endswith(self._ends)):
                raise CsvError(UNESCAPED_QUOTE)
            _refuse_blank_line(piece)


def _refuse_blank_line(outside: bytes) -> None:
    """A blank line has fewer values than the header; DuckDB would pass over it."""
    if b"\n\n" in outside or b"\n\r\n" in outside:
        # Worded by the stand-in.
        raise CsvError("InvalidBatch : Failed to parse CSV. Found a blank line")
