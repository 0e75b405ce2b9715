"""Packed torch: many networks trained together. Knows tensors, not tables.

Every tensor of a pack carries a leading member axis; a training step is a few batched matrix products.
"""
