"""The sandbox: a real HTTP server that speaks every provider's dialect and does what it is told.

Each dialect has its own base path, headers and error bodies:

| base path | dialect | wants |
|---|---|---|
| `/v1` | the sandbox's own, plain OpenAI | nothing |
| `/nim/v1`, `/nim/v2/nvcf/pexec/status/{id}`, `/nim/v2/nvcf/assets` | NVIDIA NIM | `Authorization: Bearer nvapi-…` |
| `/openrouter/api/v1` (with `/key`) | OpenRouter | `Authorization: Bearer sk-or-…` |
| `/vllm/v1`, `/vllm/health` | vLLM | nothing |

Every answer in words starts with `[simulated] `. Where `response_format` or `tools` ask for a form, the answer is a
value that satisfies the schema, or one call with such arguments (structured.py). What happens to a call is said by the
model's name (behaviour.py) or by the control endpoint (control.py). Prompts are neither kept nor logged.
"""
