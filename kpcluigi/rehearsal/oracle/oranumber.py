"""Oracle's NUMBER: canonical text, the wire's base-100 form, and arithmetic to 40 digits."""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache

from kpcluigi.rehearsal.oracle.errors import OraError

CONTEXT = decimal.Context(prec=40, rounding=decimal.ROUND_HALF_UP, Emin=-200, Emax=200)
"""Oracle keeps 20 base-100 digits, which is 39 or 40 decimal ones."""

_NUMBER_TEXT = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$", re.ASCII)
_ZERO = b"\x80"


def canonical(value: Decimal) -> str:
    """`value` without exponent, plus sign or zeros at the end of its fraction."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def parse_number(text: str) -> Decimal:
    """What TO_NUMBER makes of `text`; ORA-01722 when it is no number."""
    if not _NUMBER_TEXT.match(text):
        raise OraError(1722)
    return CONTEXT.create_decimal(text.strip())


def as_oracle_text(text: str) -> str:
    """Canonical `text` as TO_CHAR writes it: no digit before the point of a fraction."""
    if text.startswith("0."):
        return text[1:]
    return "-" + text[2:] if text.startswith("-0.") else text


@lru_cache(maxsize=65536)
def encode(text: str) -> bytes:
    """The bytes of canonical `text` on the wire; they sort as the numbers do."""
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    figures = "".join(map(str, digits)).lstrip("0")
    stripped = figures.rstrip("0")
    exponent += len(figures) - len(stripped)
    if not stripped:
        return _ZERO
    if exponent % 2:
        stripped += "0"
        exponent -= 1
    if len(stripped) % 2:
        stripped = "0" + stripped
    pairs = [int(stripped[i : i + 2]) for i in range(0, len(stripped), 2)][:20]
    power = exponent // 2 + len(stripped) // 2 - 1
    if not sign:
        return bytes([193 + power, *(p + 1 for p in pairs)])
    body = bytes([62 - power, *(101 - p for p in pairs)])
    return body + b"\x66" if len(pairs) < 20 else body


def decode(data: bytes) -> Decimal:
    """The number that a client sent."""
    if data == _ZERO:
        return Decimal(0)
    positive = data[0] & 0x80
    power = (data[0] if positive else ~data[0] & 0xFF) - 193
    body = data[1:]
    if not positive and body.endswith(b"\x66"):
        body = body[:-1]
    pairs = [(b - 1) if positive else (101 - b) for b in body]
    whole = int("".join(f"{p:02d}" for p in pairs))
    value = Decimal(whole).scaleb(2 * (power - len(pairs) + 1), CONTEXT)
    return value if positive else value.copy_negate()


def _text(operation: Callable[[Decimal, Decimal], Decimal]) -> Callable[[str, str], str]:
    def applied(left: str, right: str) -> str:
        return canonical(operation(Decimal(left), Decimal(right)))

    return applied


def _divide(left: Decimal, right: Decimal) -> Decimal:
    if not right:
        raise OraError(1476)
    return CONTEXT.divide(left, right)


def _modulo(left: Decimal, right: Decimal) -> Decimal:
    # MOD(x, 0) is x in Oracle.
    return decimal.Context(prec=100).remainder(left, right) if right else left


def _power(left: Decimal, right: Decimal) -> Decimal:
    try:
        return CONTEXT.power(left, right)
    except decimal.InvalidOperation:
        raise OraError(1428) from None


add = _text(CONTEXT.add)
subtract = _text(CONTEXT.subtract)
multiply = _text(CONTEXT.multiply)
divide = _text(_divide)
modulo = _text(_modulo)
power = _text(_power)


def _quantize(text: str, places: int, rounding: str) -> str:
    value = Decimal(text)
    unit = Decimal(1).scaleb(-places)
    wide = decimal.Context(prec=200, rounding=rounding)
    return canonical(value.quantize(unit, context=wide))


def round_half_up(text: str, places: int) -> str:
    return _quantize(text, places, decimal.ROUND_HALF_UP)


def truncate(text: str, places: int) -> str:
    return _quantize(text, places, decimal.ROUND_DOWN)


def floor(text: str) -> str:
    return _quantize(text, 0, decimal.ROUND_FLOOR)


def ceil(text: str) -> str:
    return _quantize(text, 0, decimal.ROUND_CEILING)


def total(texts: list[str | None]) -> str | None:
    """SUM of canonical texts; NULLs do not count."""
    found = [Decimal(t) for t in texts if t is not None]
    if not found:
        return None
    result = Decimal(0)
    for value in found:
        result = CONTEXT.add(result, value)
    return canonical(result)


def least(texts: list[str | None]) -> str:
    """The smallest of texts, of which one at least is not None, as canonical text."""
    return canonical(min(Decimal(t) for t in texts if t is not None))


def largest(texts: list[str | None]) -> str:
    return canonical(max(Decimal(t) for t in texts if t is not None))


def fit(text: str, precision: int, scale: int) -> str:
    """`text` rounded into a NUMBER(precision, scale); ORA-01438 when it is too large."""
    rounded = round_half_up(text, scale)
    if Decimal(rounded).copy_abs() >= Decimal(f"1E{precision - scale}"):
        raise OraError(1438)
    return rounded


_MODEL = re.compile(r"^(FM)?([$LS]?)([90,G]*)(?:([.D])([90]*))?(MI|PR|S)?$")


def to_char(text: str, model: str, decimal_point: str, group: str) -> str:
    """TO_CHAR(number, model); covers 9 0 , . G D FM S MI $ and TM9."""
    upper = model.upper()
    if upper in ("TM", "TM9"):
        return as_oracle_text(text).replace(".", decimal_point)
    found = _MODEL.match(upper)
    if found is None or not (found[3] or found[5]):
        raise OraError(1481)
    if found[6] == "PR" or found[2] == "L":
        raise OraError(3001, f"number format model {model}")
    fill_mode, lead, whole, point, fraction, tail = found.groups()
    places = len(fraction or "")
    value = Decimal(round_half_up(text, places))
    digits, _, decimals = format(value.copy_abs(), f".{places}f").partition(".")
    shown = _whole_part(digits, whole, group)
    sign = "-" if value < 0 else "+" if "S" in (lead, tail) else ""
    width = len(whole) + (1 if point else 0) + places + 1 + (1 if lead == "$" else 0)
    if shown is None:
        return "#" * width
    if point and shown == "0" and not whole.rstrip(",G").endswith("0"):
        shown = ""
    body = ("$" if lead == "$" else "") + shown
    if point:
        kept = decimals
        if fill_mode:
            forced = (fraction or "").rfind("0") + 1
            kept = decimals[:forced] + decimals[forced:].rstrip("0")
        body += (decimal_point if point == "D" else ".") + kept
    if tail == "S":
        body += sign
    elif tail == "MI":
        body += "-" if value < 0 else "" if fill_mode else " "
    else:
        body = sign + body
    return body if fill_mode else body.rjust(width)


def _whole_part(digits: str, model: str, group: str) -> str | None:
    """The digits before the point, grouped as the model says; None when they do not fit."""
    places = model.replace(",", "").replace("G", "")
    if len(digits.lstrip("0")) > len(places):
        return None
    forced = len(places) - places.index("0") if "0" in places else 0
    wanted = digits.lstrip("0").rjust(forced, "0") or ("0" if places else "")
    out: list[str] = []
    left = list(wanted)
    for mark in reversed(model):
        if not left:
            break
        out.append(left.pop() if mark in "90" else ("," if mark == "," else group))
    return "".join(reversed(out))
