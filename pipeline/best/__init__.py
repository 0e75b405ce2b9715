"""Preset best: what to train in the minutes given, the race, and the ensemble as a run."""
