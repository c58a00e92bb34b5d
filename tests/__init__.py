"""Tests. They run against real servers and real processes; nothing of ours is replaced by a stand-in."""
