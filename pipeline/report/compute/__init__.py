"""What the page shows, computed from arrays and frames. Knows no artifact and no HTML."""
