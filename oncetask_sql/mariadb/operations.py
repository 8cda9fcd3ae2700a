"""What the store says to MariaDB: `oncetask_sql.operations.Operations`."""

from oncetask_sql.mariadb.applying import Writer
from oncetask_sql.mariadb.controlling import read_control, write_control
from oncetask_sql.mariadb.listing import count, find, get, now
from oncetask_sql.mariadb.opening import check, migrate
from oncetask_sql.mariadb.renewing import renew

__all__ = ["Writer", "check", "count", "find", "get", "migrate", "now", "read_control", "renew", "write_control"]
