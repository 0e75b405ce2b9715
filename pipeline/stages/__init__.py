"""The verbs of the pipeline: each reads artifacts, does its work and writes artifacts. `steps` holds their order."""
