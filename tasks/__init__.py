"""The Celery side of Tandem."""
