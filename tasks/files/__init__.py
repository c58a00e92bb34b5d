"""Files of owners: an interface, and an implementation on this machine's disk."""
