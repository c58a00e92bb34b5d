"""The whole service as real processes, small enough for every run of the tests."""
