"""The models: one registry, one contract, learners of arrays and packed networks."""
