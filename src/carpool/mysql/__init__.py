"""MySQL and MariaDB: the engine, the driver, and what a statement leaves in the session."""
