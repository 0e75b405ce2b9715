"""One competition: its folders, spec-typed tables, folds, feature function, and the problem they make."""
