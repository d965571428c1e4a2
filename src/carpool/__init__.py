"""A database connection pool for Django."""
