"""Encoders: what is learned from the rows a model may see, and the numbers they turn a table into."""
