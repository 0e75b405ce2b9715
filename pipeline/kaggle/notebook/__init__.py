"""The final training as a notebook that Kaggle runs: its script, its bundle, its run."""
