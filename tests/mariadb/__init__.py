"""The store on MariaDB, on a real server."""
