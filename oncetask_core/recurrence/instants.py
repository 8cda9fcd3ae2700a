"""From local times to instants, where clocks are changed."""

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from oncetask_core.errors import InvalidRecurrenceError

HOUR = timedelta(hours=1)


def zone_of(name: str | None) -> tzinfo:
    """Return the zone of this IANA name; None means UTC.

    Raises:
        InvalidRecurrenceError: There is no such zone.
    """
    if name is None or name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise InvalidRecurrenceError(
            value=name, rule="timezone is an IANA name such as Europe/Berlin", remedy="Correct it, or leave it out."
        ) from error


def instant_of(local: datetime, zone: tzinfo, *, shift: bool) -> datetime | None:
    """Return the instant of a local time without a zone.

    A time that occurs twice means its first occurrence. One that does not exist is moved forward by the length of
    the gap, or has no instant.
    """
    instant = shifted(local, zone)
    return instant if shift or zone is UTC or local_of(instant, zone) == local else None


def shifted(local: datetime, zone: tzinfo) -> datetime:
    """Return the instant of a local time; one that does not exist is moved forward by the length of the gap."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def local_of(instant: datetime, zone: tzinfo) -> datetime:
    """Return the local time of an instant, without its zone."""
    return instant.astimezone(zone).replace(tzinfo=None)
