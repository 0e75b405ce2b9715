"""Raw files -> checked tables with typed feature columns; new rows typed the same way."""
