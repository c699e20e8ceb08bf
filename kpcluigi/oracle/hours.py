"""When Oracle may be read: a daily span such as `22:00-06:00 Asia/Bangkok`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_FORM = re.compile(r"(\d\d:\d\d)-(\d\d:\d\d)(?: +(\S+))?")


@dataclass(frozen=True)
class Hours:
    """A daily span; it may reach over midnight. `zone` None: this host's own."""

    start: time
    end: time
    zone: ZoneInfo | None

    def opens_at(self, now: datetime) -> datetime | None:
        """When reading may begin, or None when it may now.

        Args:
            now: any moment with a zone.
        """
        local = now.astimezone(self.zone)
        if self._open(local.time()):
            return None
        opens = local.replace(
            hour=self.start.hour, minute=self.start.minute, second=0, microsecond=0
        )
        return opens if opens > local else opens + timedelta(days=1)

    def _open(self, clock: time) -> bool:
        if self.start <= self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end


def parse_hours(text: str) -> Hours | None:
    """Hours from `HH:MM-HH:MM [zone]`; None from an empty text: at any time.

    Raises:
        ValueError: it is neither, or the zone is unknown.
    """
    if not text.strip():
        return None
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r}; expected HH:MM-HH:MM and a zone, 22:00-06:00 Asia/Bangkok")
    start, end, zone = found.groups()
    if start == end:
        raise ValueError(f"{text!r} is never; leave it empty for any time")
    try:
        where = ZoneInfo(zone) if zone else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{text!r}: unknown zone {zone}; expected one such as Asia/Bangkok"
        ) from None
    return Hours(time.fromisoformat(start), time.fromisoformat(end), where)
