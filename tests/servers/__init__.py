"""What the stores on servers promise alike: each test runs on PostgreSQL and on MariaDB."""
