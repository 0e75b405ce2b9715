"""The verbs of the pipeline: each reads artifacts, calls a noun, writes artifacts. They never call each other."""
