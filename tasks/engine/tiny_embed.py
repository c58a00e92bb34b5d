"""An embedding model of a tenth of a million parameters: `python -m tasks.engine.tiny_embed DIR`.

Untrained, so its vectors mean nothing; but a text always has the same one, of 64 numbers and length 1, and different
texts have different ones. Run by the engine's own Python; takes some seconds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

PROSE = "A worker takes a text from the queue and turns it into a vector. Near texts should have near vectors."
SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
CONTEXT_TOKENS, DIMENSIONS = 512, 64
LEARNT, VOCABULARY = 400, 512
#: What sentence-transformers, and so vLLM, reads of how token vectors become one: their mean, of length 1.
MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
POOLING = {"word_embedding_dimension": DIMENSIONS, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def make_tokenizer() -> Any:
    """A byte-level BPE tokenizer in BERT's clothes."""
    bpe = Tokenizer(models.BPE(unk_token=SPECIAL["unk"]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LEARNT,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([PROSE] * 4, trainer)
    ends = [(token, bpe.token_to_id(token)) for token in (SPECIAL["cls"], SPECIAL["sep"])]
    bpe.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, model_max_length=CONTEXT_TOKENS, **names)


def make_network() -> Any:
    """An untrained BERT of two layers."""
    network = BertModel(
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=DIMENSIONS,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=2 * DIMENSIONS,
            max_position_embeddings=CONTEXT_TOKENS,
            pad_token_id=0,
        )
    ).float()
    with torch.no_grad():
        # As it comes from its makers (deviation 0.02) it has nearly one vector for all texts.
        network.embeddings.word_embeddings.weight.normal_(0, 1.0)
    return network


def main(directory: Path) -> int:
    """Make the model in `directory`."""
    torch.manual_seed(0)
    make_tokenizer().save_pretrained(directory)
    make_network().save_pretrained(directory)
    (directory / "model.safetensors").chmod(0o644)
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(POOLING))
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(MODULES)
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
