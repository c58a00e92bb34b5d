"""`make run` and what surrounds it, by real processes."""
