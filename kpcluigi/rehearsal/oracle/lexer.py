"""Oracle SQL cut into tokens, with Oracle's refusals of what is no token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from kpcluigi.rehearsal.oracle.errors import OraError

TokenKind = Literal["word", "quoted", "number", "string", "bind", "op", "hint", "end"]

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|/\*(?!\+).*?\*/)
  | (?P<hint>/\*\+.*?\*/)
  | (?P<string>[nN]?'(?:[^']|'')*')
  | (?P<qstring>[nN]?[qQ]'(?:\[.*?\]|\{.*?\}|<.*?>|\(.*?\)|(?P<d>[^\s\[{<(]).*?(?P=d))')
  | (?P<quoted>"[^"]*")
  | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<bind>:\s*(?:"[^"]+"|[^\W_]\w*\$?))
  | (?P<word>[^\W\d_][\w$\#]*)
  | (?P<op>\|\||<>|!=|\^=|<=|>=|=>|[-+*/(),.=<>;@:])
    """,
    re.X | re.S,
)


@dataclass(frozen=True)
class Token:
    """A token: `text` is upper-cased for a word, unquoted for names and strings."""

    kind: TokenKind
    text: str
    start: int
    end: int


def tokenize(sql: str) -> list[Token]:
    """The tokens of `sql`, closed by one of kind "end".

    Raises:
        OraError: ORA-00911, ORA-01740, ORA-01741, ORA-01742, ORA-01756, ORA-00972.
    """
    tokens: list[Token] = []
    at = 0
    while at < len(sql):
        found = _TOKEN.match(sql, at)
        if found is None or (found[0] == "/" and sql.startswith("/*", at)):
            raise _not_a_token(sql, at)
        group, text, at = found.lastgroup, found[0], found.end()
        if group != "space":
            tokens.append(_token(group or "op", text, found.start(), at))
    tokens.append(Token("end", "", len(sql), len(sql)))
    return tokens


def _token(group: str, text: str, start: int, end: int) -> Token:
    if group in ("qstring", "d"):
        inner = text[text.index("'") + 2 : -2]
        return Token("string", inner, start, end)
    if group == "string":
        return Token("string", text[text.index("'") + 1 : -1].replace("''", "'"), start, end)
    if group == "hint":
        return Token("hint", text[3:-2].strip(), start, end)
    if group == "bind":
        name = text[1:].strip()
        name = name[1:-1] if name.startswith('"') else name.upper()
        return Token("bind", name, start, end)
    if group == "word":
        if len(text.encode()) > 128:
            raise OraError(972, offset=start)
        return Token("word", text.upper(), start, end)
    if group == "quoted":
        if len(text) == 2:
            raise OraError(1741, offset=start)
        return Token("quoted", text[1:-1], start, end)
    return Token("number" if group == "number" else "op", text, start, end)


def _not_a_token(sql: str, at: int) -> OraError:
    if sql[at] == "'":
        return OraError(1756, offset=at)
    if sql[at] == '"':
        return OraError(1740, offset=at)
    if sql.startswith("/*", at):
        return OraError(1742, offset=at)
    return OraError(911, offset=at)
