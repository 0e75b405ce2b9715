"""A small sentence-transformers model of random numbers in a folder, so that tests need no download."""

from __future__ import annotations

from pathlib import Path

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day", "it", "was", "a", "for", "all", "of", "us"]
WIDTH = 32


def write_sentence_model(folder: Path, *, seed: int = 0) -> Path:
    """Write a BERT of two layers with a vocabulary of some words; return the folder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    plain = folder.with_name(f"{folder.name}-plain")
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(plain)
    BertTokenizerFast(vocab={word: code for code, word in enumerate(WORDS)}).save_pretrained(plain)
    words = Transformer(str(plain), max_seq_length=32)
    SentenceTransformer(modules=[words, Pooling(WIDTH)], device="cpu").save(str(folder))
    return folder
