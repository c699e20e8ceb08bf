"""Bodies that go out in pieces, and answers that come in whole or not at all.

An answer is whole when HTTP says so (Content-Length, or the last chunk) and, where it came as gzip,
its trailer is there with the right checksum. The HTTP library checks the first of these only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import requests
import urllib3.exceptions
from isal import igzip_lib

from kpcluigi.errors import SalesforceError
from kpcluigi.files import gzip_writer, replacing
from kpcluigi.salesforce.client import Client

T = TypeVar("T")

PIECE = 64 << 10
BLOCK = 256 << 10
INFLATED = 4 << 20
"""Bytes that are unpacked at once, however well they were packed."""
GZIP_ERROR = cast(type[Exception], igzip_lib.error)  # a class that its stub declares an instance


class BrokenOffError(Exception):
    """An answer that is not whole."""


class Pieces:
    """Bytes that are sent piece by piece, because a time-out counts for each piece."""

    def __init__(self, blocks: Sequence[bytes]) -> None:
        self._blocks = blocks

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            for start in range(0, len(block), PIECE):
                yield block[start : start + PIECE]


def stream_to_gzip(client: Client, path: str, target: Path) -> None:
    """GET a resource into a gzip file, which appears only when it is whole.

    What comes as gzip is kept as it comes.

    Raises:
        SalesforceError: refused; or broken off each time.
    """

    def fetch(response: requests.Response) -> None:
        with replacing(target) as file:
            if is_gzip(response):
                for _ in unpacked(response, file):
                    continue
            else:
                with gzip_writer(file) as packed:
                    for block in unpacked(response):
                        packed.write(block)

    receive(client, path, fetch)


def receive(
    client: Client,
    path: str,
    fetch: Callable[[requests.Response], T],
    *,
    params: dict[str, str] | None = None,
) -> T:
    """GET a resource and have `fetch` read it; once more from the start when it breaks off.

    Raises:
        SalesforceError: refused; or broken off each time (status 0: a later try may succeed).
    """
    attempt = 0
    while True:
        attempt += 1
        response = client.call(
            "GET", path, params=params, headers={"Accept-Encoding": "gzip"}, stream=True
        )
        try:
            with response:
                return fetch(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError, BrokenOffError) as error:
            if attempt > client.retries:
                raise SalesforceError(f"GET {path} broke off: {error}") from error
            client.pause(attempt, f"GET {path} broke off ({type(error).__name__})")


def is_gzip(response: requests.Response) -> bool:
    """Whether the body comes as gzip."""
    return response.headers.get("Content-Encoding", "").lower() == "gzip"


def unpacked(response: requests.Response, copy: BinaryIO | None = None) -> Iterator[bytes]:
    """The blocks of a body, unpacked; `copy` receives them as they came.

    Raises:
        BrokenOffError: the body is not whole; so does the HTTP library with errors of its own.
    """
    if "Content-Length" not in response.headers and not response.raw.chunked:
        raise BrokenOffError("the answer does not say where it ends")
    blocks = _raw_blocks(response, copy)
    if is_gzip(response):
        yield from _inflated(blocks)
    elif encoding := response.headers.get("Content-Encoding"):
        raise BrokenOffError(f"the answer is packed as {encoding}, which was not asked for")
    else:
        yield from blocks


def _raw_blocks(response: requests.Response, copy: BinaryIO | None) -> Iterator[bytes]:
    for block in response.raw.stream(BLOCK, decode_content=False):
        if copy is not None:
            copy.write(block)
        yield block


def _inflated(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """What is in one or more gzip members, each of them up to its trailer."""
    member, members = None, 0
    for given in blocks:
        block = given
        while block or (member is not None and not member.needs_input):
            if member is None:
                member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            try:
                data = member.decompress(block, INFLATED)
            except GZIP_ERROR as error:
                raise BrokenOffError(f"the answer is no sound gzip: {error}") from error
            block = b""
            if data:
                yield data
            if member.eof:
                block, member, members = member.unused_data, None, members + 1
    if member is not None or not members:
        raise BrokenOffError("the answer ends before its gzip trailer")
