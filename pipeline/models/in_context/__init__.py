"""Pretrained models that read the train rows as context and are not trained: TabICL, TabPFN."""
