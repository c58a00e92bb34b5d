"""Which variables an engine takes over from the process that starts it. All others stay outside: they may be secrets of
the service, or of something else on this machine, and models can bring code along."""

from __future__ import annotations

from collections.abc import Collection, Mapping

#: What programs, their libraries and downloads need. The service's marks are how its processes are found again.
NAMES = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE", "TZ",
    "LD_LIBRARY_PATH", "LD_PRELOAD", "LIBRARY_PATH", "CPATH", "CC", "CXX", "MAX_JOBS",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "PYTHONUNBUFFERED", "PYTHONHASHSEED", "PYTHONFAULTHANDLER", "PYTHONWARNINGS",
    "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_TF32_OVERRIDE",
    "SUPERVISED_FOR_TANDEM", "SUPERVISOR_PROCESS_NAME",
})  # fmt: skip
#: vLLM's own, and those of what it is made of: compilers, libraries for numbers and between GPUs, the hub of models.
BEGINNINGS = (
    "LC_", "XDG_", "VLLM_", "HF_", "HUGGING_FACE_", "TRANSFORMERS_", "TOKENIZERS_", "SAFETENSORS_", "TORCH", "PYTORCH_",
    "TRITON_", "FLASHINFER_", "CUDA_", "CUBLAS_", "CUDNN_", "NCCL_", "GLOO_", "UCX_", "NVSHMEM_", "RAY_", "DG_", "TVM_",
    "OMP_", "MKL_", "KMP_", "GOMP_", "OPENBLAS_", "NUMBA_", "NUMEXPR_", "ONEDNN_", "DNNL_",
)  # fmt: skip


def is_taken(name: str, further: Collection[str] = ()) -> bool:
    """Whether an engine gets this variable: one that it needs, or one of `further`, which the operator names."""
    return name.upper() in NAMES or name.startswith(BEGINNINGS) or name in further


def taken(environ: Mapping[str, str], further: Collection[str] = ()) -> dict[str, str]:
    """What an engine gets of `environ`."""
    return {name: value for name, value in environ.items() if is_taken(name, further)}
