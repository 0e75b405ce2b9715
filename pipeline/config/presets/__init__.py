"""Run configurations by name, one TOML file each. `models.run_configuration` reads them."""

from importlib import resources

DEFAULT_PRESET = "fast"


def preset_names() -> list[str]:
    """The built-in presets, by name."""
    return sorted(p.name[:-5] for p in resources.files("pipeline.config.presets").iterdir() if p.name.endswith(".toml"))
