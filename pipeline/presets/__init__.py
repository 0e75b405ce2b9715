"""Run configurations by name, one TOML file each. `pipeline.config.load_run_config` reads them."""
