"""Oracle's refusals: the error that carries an ORA- number, and the messages of 19c."""

from __future__ import annotations

import re

MESSAGES = {
    1: "unique constraint ({}) violated",
    60: "deadlock detected while waiting for resource",
    900: "invalid SQL statement",
    903: "invalid table name",
    904: "{}: invalid identifier",
    905: "missing keyword",
    906: "missing left parenthesis",
    907: "missing right parenthesis",
    909: "invalid number of arguments",
    911: "invalid character",
    913: "too many values",
    917: "missing comma",
    918: "column ambiguously defined",
    920: "invalid relational operator",
    908: "missing NULL keyword",
    924: "missing BY keyword",
    923: "FROM keyword not found where expected",
    925: "missing INTO keyword",
    926: "missing VALUES keyword",
    927: "missing equal sign",
    928: "missing SELECT keyword",
    932: "inconsistent datatypes: expected {} got {}",
    933: "SQL command not properly ended",
    934: "group function is not allowed here",
    936: "missing expression",
    937: "not a single-group group function",
    938: "not enough arguments for function",
    939: "too many arguments for function",
    942: "table or view does not exist",
    947: "not enough values",
    957: "duplicate column name",
    971: "missing SET keyword",
    972: "identifier is too long",
    979: "not a GROUP BY expression",
    980: "synonym translation is no longer valid",
    1001: "invalid cursor",
    1002: "fetch out of sequence",
    1008: "not all variables bound",
    1013: "user requested cancel of current operation",
    1017: "invalid username/password; logon denied",
    1045: "user {} lacks CREATE SESSION privilege; logon denied",
    1031: "insufficient privileges",
    1036: "illegal variable name/number",
    1410: "invalid ROWID",
    1445: "cannot select ROWID from, or sample, a join view without a key-preserved table",
    1446: "cannot select ROWID from, or sample, a view with DISTINCT, GROUP BY, etc.",
    6553: "PLS-306: wrong number or types of arguments in call to '{}'",
    1400: "cannot insert NULL into ({})",
    1403: "no data found",
    1407: "cannot update ({}) to NULL",
    1428: "argument is out of range",
    1853: "seconds in day must be between 0 and 86399",
    1795: "maximum number of expressions in a list is 1000",
    1466: "unable to read data - table definition has changed",
    975: "date + date not allowed",
    1425: "escape character must be character string of length 1",
    30001: "trim set should have only one character",
    30076: "invalid extract field for extract source",
    1898: "too many precision specifiers",
    12702: "invalid NLS parameter string used in SQL function",
    22835: "Buffer too small for CLOB to CHAR or BLOB to RAW conversion (actual: {}, maximum: {})",
    30562: "invalid SAMPLE percentage",
    22998: "CLOB or NCLOB in multibyte character set not supported",
    30175: "invalid type given for an argument",
    30482: "DISTINCT option not allowed for this function",
    1465: "invalid hex number",
    978: "nested group function without GROUP BY",
    32038: "number of WITH clause column names does not match number of elements in select list",
    8188: "AS OF not allowed on this kind of table",
    1435: "user does not exist",
    1882: "timezone region not found",
    12705: "Cannot access NLS data files or invalid environment specified",
    1426: "numeric overflow",
    1427: "single-row subquery returns more than one row",
    1438: "value larger than specified precision allowed for this column",
    1456: "may not perform insert/delete/update operation inside a READ ONLY transaction",
    1476: "divisor is equal to zero",
    1481: "invalid number format model",
    1489: "result of string concatenation is too long",
    1555: 'snapshot too old: rollback segment number {} with name "{}" too small',
    1722: "invalid number",
    1740: "missing double quote in identifier",
    1741: "illegal zero-length identifier",
    1742: "comment not terminated properly",
    1745: "invalid host/bind variable name",
    1756: "quoted string not properly terminated",
    1747: "invalid user.table.column, table.column, or column specification",
    1785: "ORDER BY item must be the number of a SELECT-list expression",
    1789: "query block has incorrect number of result columns",
    1790: "expression must have same datatype as corresponding expression",
    1791: "not a SELECTed expression",
    1796: "this operator cannot be used with lists",
    1797: "this operator must be followed by ANY or ALL",
    1821: "date format not recognized",
    1830: "date format picture ends before converting entire input string",
    1839: "date not valid for month specified",
    1840: "input value not long enough for date format",
    1841: "(full) year must be between -4713 and +9999, and not be 0",
    1843: "not a valid month",
    1847: "day of month must be between 1 and last day of month",
    1849: "hour must be between 1 and 12",
    1850: "hour must be between 0 and 23",
    1851: "minutes must be between 0 and 59",
    1852: "seconds must be between 0 and 59",
    1855: "AM/A.M. or PM/P.M. required",
    1858: "a non-numeric character was found where a numeric was expected",
    1861: "literal does not match format string",
    1878: "specified field not found in datetime or interval",
    2003: "invalid USERENV parameter",
    2248: "invalid option for ALTER SESSION",
    3001: "unimplemented feature: {}",
    3120: "two-task conversion routine: integer overflow",
    6550: "line 1, column 1:\nPLS-00103: the stand-in runs no PL/SQL",
    6502: "PL/SQL: numeric or value error",
    8181: "specified number is not a valid system change number",
    12899: "value too large for column {} (actual: {}, maximum: {})",
    22275: "invalid LOB locator specified",
    30483: "window functions are not allowed here",
    30484: "missing window specification for this function",
    30485: "missing ORDER BY expression in the window specification",
    32039: "recursive WITH clause must have column alias list",
}

_IN_TEXT = re.compile(r"ORA-(\d{5}): (.*?)(?:\n\n|$)", re.S)


class OraError(Exception):
    """A refusal with Oracle's number; `text` is the whole message as a client sees it.

    Attributes:
        offset: of the character in the SQL that the parser stopped at.
    """

    def __init__(self, number: int, *parts: object, message: str = "", offset: int = 0) -> None:
        said = message or MESSAGES[number].format(*parts)
        self.number = number
        self.offset = offset
        self.text = f"ORA-{number:05d}: {said}"
        super().__init__(self.text)


def unimplemented(what: str) -> OraError:
    """The loud refusal of what Oracle can do and the stand-in cannot."""
    return OraError(3001, what)


def find_in(text: str) -> OraError | None:
    """The refusal that a function of ours put into DuckDB's error message, if there is one."""
    found = _IN_TEXT.search(text)
    return OraError(int(found[1]), message=found[2].strip()) if found else None
