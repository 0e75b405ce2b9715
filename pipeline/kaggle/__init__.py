"""Everything sent to or received from Kaggle. Only `client` imports Kaggle's own client."""
