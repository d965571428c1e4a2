"""PostgreSQL: the engine, the drivers, and what a statement leaves in the session."""
