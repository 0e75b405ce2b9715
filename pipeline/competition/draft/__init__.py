"""The raw files of a new competition -> the text of its `competition.toml`, each guess with its evidence.

Must not know: models, presets, or where the spec is written.
"""

from pipeline.competition.draft.spec_text import draft_spec

__all__ = ["draft_spec"]
