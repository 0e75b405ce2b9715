"""The sections of the page, one module each: sentences, charts and tables about what `collect` read."""
