"""The book of record in Redis. Every change of a job is one Lua script that compares before it sets."""
