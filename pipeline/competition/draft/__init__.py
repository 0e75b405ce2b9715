"""The raw files of a new competition -> the text of its `competition.toml`; each guess is followed by its evidence."""
