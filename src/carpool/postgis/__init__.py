"""PostGIS: `carpool.postgresql` with GeoDjango."""
