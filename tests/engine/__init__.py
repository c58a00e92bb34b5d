"""The engine's supervision, against a small program that behaves like `vllm serve`, well or badly."""
