"""What the user writes down: a competition's spec, a run's configuration, a search space. Knows TOML; knows no data."""
