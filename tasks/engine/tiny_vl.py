"""A model of under a million parameters that sees which colour a picture has: `python -m tasks.engine.tiny_vl DIR`.

It stands in for a real vision model where a real engine must look at images in a repeatable way. Idefics3, because that
takes several images between texts and needs no torchvision. Run by the engine's own Python, like tiny_chat.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor, LlamaConfig
from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from tasks.engine.tiny_chat import CONTEXT_TOKENS, END, VOCABULARY, make_tokenizer, save_network, train
from tasks.engine.tiny_chat import make_batch as padded

QUESTION = "Which colour is this?"
#: What it knows. Of any other picture it says a mixture of this, the same each time.
COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 180, 20),
    "blue": (20, 20, 220),
    "yellow": (230, 220, 20),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
}
IMAGE, FAKE, GLOBAL = "<image>", "<fake_token_around_image>", "<global-img>"
SPECIALS = (IMAGE, FAKE, GLOBAL, "<end_of_utterance>")
#: ChatML with a mark where each image stands.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for p in m['content'] %}{% if p['type'] == 'text' %}{{ p['text'] }}"
    "{% elif p['type'] in ('image', 'image_url') %}<image>{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: A picture of 56 by 56 pixels is 16 patches, and four of those make one token.
EDGE, PATCH, SCALE = 56, 14, 2
IMAGE_TOKENS = (EDGE // PATCH) ** 2 // SCALE**2
#: Training ends at this loss or after so many steps.
TARGET_LOSS, MAX_STEPS = 5e-3, 400


def make_processor() -> Any:
    """tiny-chat's tokenizer with tokens for images, and what turns a picture into numbers."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIALS)})
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": EDGE}, max_image_size={"longest_edge": EDGE}, do_image_splitting=False
    )
    return Idefics3Processor(images, tokenizer, image_seq_len=IMAGE_TOKENS, chat_template=TEMPLATE)


def make_network(tokenizer: Any) -> Any:
    """Untrained: two layers that see, two that speak."""
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT_TOKENS,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    vision = Idefics3VisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=EDGE,
        patch_size=PATCH,
    )
    config = Idefics3Config(
        text_config=text,
        vision_config=vision,
        scale_factor=SCALE,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    return Idefics3ForConditionalGeneration(config).float()


def make_batch(processor: Any) -> dict[str, Any]:
    """Every colour, asked for before and after the picture; labels only where the answer stands."""
    tokenizer = processor.tokenizer
    pictures, pairs = [], []
    for name, colour in COLOURS.items():
        for parts in ((QUESTION, IMAGE), (IMAGE, QUESTION)):
            shown = "".join(parts).replace(IMAGE, FAKE + GLOBAL + IMAGE * IMAGE_TOKENS + FAKE)
            prompt = f"<|im_start|>user\n{shown}<|im_end|>\n<|im_start|>assistant\n"
            pairs.append((tokenizer.encode(prompt), tokenizer.encode(f"The picture is {name}.{END}")))
            pictures.append([Image.new("RGB", (EDGE, EDGE), colour)])
    seen = processor.image_processor(pictures, return_tensors="pt")
    batch = padded(pairs, tokenizer.pad_token_id)
    return batch | {"pixel_values": seen["pixel_values"], "pixel_attention_mask": seen["pixel_attention_mask"]}


def save(directory: Path, network: Any, processor: Any) -> None:
    """Write what `vllm serve DIRECTORY` reads."""
    processor.save_pretrained(directory)
    save_network(directory, network, processor.tokenizer)


def main(directory: Path) -> int:
    """Make the model in `directory`. Returns 1 when it did not learn its colours."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    processor = make_processor()
    network = make_network(processor.tokenizer)
    loss = train(network, make_batch(processor), target_loss=TARGET_LOSS, max_steps=MAX_STEPS)
    save(directory, network, processor)
    sys.stdout.write(f"tiny-vl: loss {loss:.4f}\n")
    return 0 if loss < TARGET_LOSS else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
