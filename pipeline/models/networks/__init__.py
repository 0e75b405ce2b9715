"""Packed networks as models."""
