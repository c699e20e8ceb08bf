"""Every statement of corpus.sql is answered as it says there."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oracledb
import pytest


@dataclass(frozen=True)
class Example:
    line: int
    sql: str
    answers: tuple[str, ...]


def read_corpus() -> list[Example]:
    found: list[Example] = []
    sql: list[str] = []
    answers: list[str] = []
    start = 0
    path = Path(__file__).with_name("corpus.sql")
    for number, line in enumerate([*path.read_text("utf-8").splitlines(), ""], 1):
        if line.startswith("=> "):
            answers.append(line[3:])
            continue
        if answers:
            found.append(Example(start, "\n".join(sql), tuple(answers)))
            sql, answers = [], []
        if line and not line.startswith("--"):
            start = start if sql else number
            sql.append(line)
    return found


CORPUS = read_corpus()


def as_text(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    return value.hex() if isinstance(value, bytes) else str(value)


def exact_numbers(cursor: oracledb.Cursor, metadata: oracledb.FetchInfo) -> Any:
    if metadata.type_code is oracledb.DB_TYPE_NUMBER:
        return cursor.var(str, arraysize=cursor.arraysize)
    return None


def run(cursor: oracledb.Cursor, sql: str) -> list[Any]:
    cursor.execute(sql)
    return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize("example", CORPUS, ids=[f"line {e.line}" for e in CORPUS])
def test_statement_is_answered_as_the_corpus_says(
    example: Example, connection: oracledb.Connection
) -> None:
    refusal = example.answers[0] if example.answers[0].startswith("ORA-") else None
    with connection.cursor() as cursor:
        cursor.outputtypehandler = exact_numbers
        if refusal is not None:
            number, _, part = refusal.partition(" # ")
            with pytest.raises(oracledb.DatabaseError) as refused:
                run(cursor, example.sql)
            assert str(refused.value).startswith(number)
            assert part in str(refused.value)
            connection.rollback()
            return
        rows = run(cursor, example.sql)
    shown = [" | ".join(map(as_text, row)) for row in rows] or ["no rows"]
    assert shown == list(example.answers)


def test_corpus_is_read_whole() -> None:
    assert len(CORPUS) > 150
