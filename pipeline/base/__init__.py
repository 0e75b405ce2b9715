"""What everything else stands on: files, errors, progress, locks, interruption, seeds."""
