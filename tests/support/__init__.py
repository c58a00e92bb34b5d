"""What tests start and ask: servers, workers, polling."""
