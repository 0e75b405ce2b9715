"""Search spaces by model, one TOML file each. `pipeline.config.load_search_space` reads them."""
