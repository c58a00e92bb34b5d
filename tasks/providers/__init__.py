"""Those who answer: vLLM, NVIDIA NIM, OpenRouter and the sandbox, behind one interface."""
