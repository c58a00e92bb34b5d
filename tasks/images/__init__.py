"""Images on their way in and out: fetched, read, fitted to whoever looks at them. Knows nothing of Redis."""
