"""The version of the package, stated here alone. Knows nothing else."""

VERSION = "0.1.0"
