"""Oracle's date format models: text into moments, and DuckDB SQL that writes moments as text."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache

from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented

_ELEMENT = re.compile(
    r'"[^"]*"|FM|FX|SYYYY|YYYY|RRRR|YYY|YY|RR|IYYY|Y|MONTH|MON|MM|MI|DDD|DD|DAY|DY|D|HH24|HH12|HH'
    r"|SSSSS|SS|FF[1-9]?|TZH|TZM|AM|PM|A\.M\.|P\.M\.|IW|WW|W|Q|CC|J|X|T|[-/,.;:\s]",
    re.I,
)
_MONTHS = [
    "JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE",
    "JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER",
]  # fmt: skip
_DIGITS = {"YYYY": 4, "RRRR": 4, "SYYYY": 4, "YYY": 3, "YY": 2, "RR": 2, "Y": 1, "MM": 2, "DD": 2,
           "HH24": 2, "HH12": 2, "HH": 2, "MI": 2, "SS": 2, "SSSSS": 5, "DDD": 3,
           "TZM": 2}  # fmt: skip
_PUNCTUATION = "-/,.;: \t\n"


@lru_cache(maxsize=500)
def elements(model: str) -> tuple[str, ...]:
    """The parts of a format model as written; ORA-01821 for what is none."""
    parts: list[str] = []
    at = 0
    while at < len(model):
        found = _ELEMENT.match(model, at)
        if found is None:
            raise OraError(1821)
        parts.append(found[0])
        at = found.end()
    return tuple(parts)


class _Reader:
    """Reads a text by a format model, as TO_DATE does."""

    def __init__(self, text: str, default: dt.date) -> None:
        self.text = text.strip()
        self.at = 0
        self.found: dict[str, int] = {}
        self.default = default

    def literal(self, wanted: str) -> None:
        for mark in wanted:
            if self.at < len(self.text) and self.text[self.at] == mark:
                self.at += 1
            elif self.at >= len(self.text):
                raise OraError(1840)
            else:
                raise OraError(1861)

    def punctuation(self, after: str) -> None:
        # Any punctuation mark stands for any other, and may be missing between numbers.
        if self.at < len(self.text) and self.text[self.at] in _PUNCTUATION:
            self.at += 1
        elif self.at < len(self.text) and not (
            after.upper() in _DIGITS and self.text[self.at].isdigit()
        ):
            raise OraError(1861)

    def digits(self, most: int) -> tuple[int, int]:
        start = self.at
        while (
            self.at < len(self.text) and self.at - start < most and "0" <= self.text[self.at] <= "9"
        ):
            self.at += 1
        if start == self.at:
            raise OraError(1840 if start >= len(self.text) else 1858)
        return int(self.text[start : self.at]), self.at - start

    def month_name(self) -> int:
        rest = self.text[self.at :].upper()
        for number, name in enumerate(_MONTHS, 1):
            for form in (name, name[:3]):
                if rest.startswith(form):
                    self.at += len(form)
                    return number
        raise OraError(1843)

    def element(self, part: str, after: str) -> None:
        upper = part.upper()
        if part[0] == '"':
            self.literal(part[1:-1])
        elif part in _PUNCTUATION:
            self.punctuation(after)
        elif upper in ("FM", "FX", "X"):
            if upper != "FM":
                raise unimplemented(f"{upper} in a date format model")
        elif upper in ("MON", "MONTH"):
            self.found["month"] = self.month_name()
        elif upper in ("AM", "PM", "A.M.", "P.M."):
            rest = self.text[self.at : self.at + len(upper)].upper().replace(".", "")
            if rest[:2] not in ("AM", "PM"):
                raise OraError(1855)
            self.found["half"] = int(rest[:2] == "PM")
            self.at += len(upper)
        elif upper == "MM" and self.text[self.at : self.at + 1].isalpha():
            self.found["month"] = self.month_name()
        elif upper.startswith("FF"):
            value, width = self.digits(int(upper[2:] or 9))
            self.found["micro"] = int(str(value).rjust(width, "0").ljust(6, "0")[:6])
        elif upper == "TZH":
            sign = -1 if self.text[self.at : self.at + 1] == "-" else 1
            if self.text[self.at : self.at + 1] in ("+", "-"):
                self.at += 1
            self.found["zone"] = sign * self.digits(2)[0] * 60
            self.found["zone_sign"] = sign
        elif upper in _DIGITS:
            self.number(upper, *self.digits(_DIGITS[upper]))
        else:
            raise unimplemented(f"{upper} in the format model of TO_DATE")

    def number(self, upper: str, value: int, width: int) -> None:
        found = self.found
        if upper in ("YYYY", "SYYYY") or (upper == "RRRR" and width > 2):
            found["year"] = value
        elif upper in ("RR", "RRRR"):
            found["year"] = value + (2000 if value < 50 else 1900)
        elif upper in ("YYY", "YY", "Y"):
            base = 10 ** _DIGITS[upper]
            found["year"] = self.default.year // base * base + value
        elif upper in ("HH", "HH12"):
            if not 1 <= value <= 12:
                raise OraError(1849)
            found["hour12"] = value
        elif upper == "TZM":
            found["zone"] = found.get("zone", 0) + found.get("zone_sign", 1) * value
        elif upper == "DDD":
            found["day_of_year"] = value
        else:
            name = {"MM": "month", "DD": "day", "HH24": "hour", "MI": "minute", "SS": "second",
                    "SSSSS": "seconds"}[upper]  # fmt: skip
            limits = {"month": (1, 12, 1843), "day": (1, 31, 1847), "hour": (0, 23, 1850),
                      "minute": (0, 59, 1851), "second": (0, 59, 1852)}  # fmt: skip
            low, high, number = limits.get(name, (0, 86399, 1853))
            if not low <= value <= high:
                raise OraError(number)
            found[name] = value

    def moment(self) -> dt.datetime:
        found = self.found
        year = found.get("year", self.default.year)
        if not 1 <= year <= 9999:
            raise OraError(1841)
        hour = found.get("hour", 0)
        if "hour12" in found:
            hour = found["hour12"] % 12 + 12 * found.get("half", 0)
        try:
            day = dt.datetime(year, found.get("month", self.default.month), found.get("day", 1))
        except ValueError:
            raise OraError(1839) from None
        if "day_of_year" in found:
            day = dt.datetime(year, 1, 1) + dt.timedelta(days=found["day_of_year"] - 1)
        seconds = found.get("seconds", hour * 3600 + found.get("minute", 0) * 60)
        seconds += found.get("second", 0)
        return day + dt.timedelta(seconds=seconds, microseconds=found.get("micro", 0))


def read(text: str, model: str) -> tuple[dt.datetime, int | None]:
    """The moment that `text` names by `model`, and its minutes east of UTC if the model has TZH."""
    reader = _Reader(text, dt.datetime.now(dt.UTC).date().replace(day=1))
    parts = elements(model)
    for i, part in enumerate(parts):
        if reader.at >= len(reader.text) and part.upper() not in ("FM",):
            # What the text leaves out at its end is midnight, but a date needs its date.
            if all(p in _PUNCTUATION or _is_time(p) for p in parts[i:]):
                break
            raise OraError(1840)
        reader.element(part, parts[i + 1] if i + 1 < len(parts) else "")
    if reader.at < len(reader.text):
        raise OraError(1830)
    return reader.moment(), reader.found.get("zone")


def _is_time(part: str) -> bool:
    upper = part.upper()
    return upper.startswith(("HH", "MI", "SS", "FF", "TZ")) or upper in ("AM", "PM")


def to_date(text: str, model: str) -> dt.datetime:
    if any(p.upper().startswith(("FF", "TZ")) for p in elements(model)):
        raise OraError(1821)
    return read(text, model)[0]


def to_timestamp(text: str, model: str) -> dt.datetime:
    return read(text, model)[0]


_PLAIN = {"YYYY": "%Y", "RRRR": "%Y", "SYYYY": " %Y", "YY": "%y", "RR": "%y", "MM": "%m",
          "DD": "%d", "HH24": "%H", "HH12": "%I", "HH": "%I", "MI": "%M", "SS": "%S", "DDD": "%j",
          "IW": "%V", "IYYY": "%G"}  # fmt: skip


def to_char_sql(moment: str, model: str, offset: str | None = None) -> str:
    """DuckDB SQL for TO_CHAR(moment, model); `offset` is SQL for the minutes east of UTC."""
    pieces: list[str] = []
    fill = True
    for part in elements(model):
        upper = part.upper()
        if upper == "FM":
            fill = not fill
        elif part[0] == '"' or part in _PUNCTUATION or upper == "T":
            if upper == "T":
                raise OraError(1821)
            pieces.append(_quoted(part[1:-1] if part[0] == '"' else part))
        elif upper in _PLAIN:
            shown = f"strftime({moment}, '{_PLAIN[upper]}')"
            numeric = upper not in ("YYYY", "SYYYY", "RRRR")
            pieces.append(shown if fill or not numeric else f"{shown}::INTEGER::VARCHAR")
        elif upper in ("MONTH", "DAY"):
            shown = f"strftime({moment}, '{'%B' if upper == 'MONTH' else '%A'}')"
            pieces.append(_cased(f"rpad({shown}, 9, ' ')" if fill else shown, part))
        elif upper in ("MON", "DY"):
            pieces.append(_cased(f"strftime({moment}, '{'%b' if upper == 'MON' else '%a'}')", part))
        elif upper in ("AM", "PM"):
            pieces.append(_cased(f"strftime({moment}, '%p')", part))
        elif upper.startswith("FF"):
            digits = int(upper[2:] or 6)
            micro = f"strftime({moment}, '%f')"
            pieces.append(
                f"rpad({micro}, {digits}, '0')" if digits > 6 else f"left({micro}, {digits})"
            )
        elif upper == "Q":
            pieces.append(f"quarter({moment})::VARCHAR")
        elif upper == "D":
            pieces.append(f"(dayofweek({moment}) + 1)::VARCHAR")
        elif upper == "SSSSS":
            seconds = f"(hour({moment}) * 3600 + minute({moment}) * 60 + second({moment}))::VARCHAR"
            pieces.append(f"lpad({seconds}, 5, '0')" if fill else seconds)
        elif upper == "J":
            pieces.append(
                f"(date_diff('day', TIMESTAMP '2000-01-01', {moment}) + 2451545)::VARCHAR"
            )
        elif upper == "X":
            pieces.append("'.'")
        elif upper in ("TZH", "TZM"):
            pieces.append(_zone(upper, offset))
        else:
            raise unimplemented(f"{upper} in the format model of TO_CHAR")
    return "(" + " || ".join(pieces or ["NULL"]) + ")"


def _zone(upper: str, offset: str | None) -> str:
    if offset is None:
        raise OraError(1821)
    if upper == "TZM":
        return f"lpad((abs({offset}) % 60)::VARCHAR, 2, '0')"
    sign = f"CASE WHEN {offset} < 0 THEN '-' ELSE '+' END"
    return f"({sign} || lpad((abs({offset}) // 60)::VARCHAR, 2, '0'))"


def _cased(shown: str, part: str) -> str:
    if part.isupper():
        return f"upper({shown})"
    return f"lower({shown})" if part.islower() else shown


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
