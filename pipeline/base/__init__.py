"""The foundation: files, errors, progress, locks, interruption, seeds."""
