"""Everything that goes to Kaggle or comes from it; Kaggle's own client is imported under `client` alone."""
