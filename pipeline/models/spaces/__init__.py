"""Search spaces by model, one TOML file each. `models.registry.load_search_space` reads them."""
