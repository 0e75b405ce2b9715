"""Optuna studies over packs: ask for a batch of trials, train trials x folds together, prune, tell."""
