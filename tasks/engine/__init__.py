"""The local engine: its installation, its devices, and one supervised `vllm serve`. Imports nothing here."""
