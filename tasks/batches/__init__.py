"""Batches: read, carried in shards by a Celery chord, concluded by their record."""
