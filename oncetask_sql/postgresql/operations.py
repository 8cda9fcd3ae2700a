"""What the store says to PostgreSQL: `oncetask_sql.operations.Operations`."""

from oncetask_sql.postgresql.applying import Writer
from oncetask_sql.postgresql.controlling import read_control, write_control
from oncetask_sql.postgresql.listing import count, find, get, now
from oncetask_sql.postgresql.opening import check, migrate
from oncetask_sql.postgresql.renewing import renew

__all__ = ["Writer", "check", "count", "find", "get", "migrate", "now", "read_control", "renew", "write_control"]
