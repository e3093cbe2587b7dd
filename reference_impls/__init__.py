"""Reference implementations: one file an algorithm, read once from top to bottom."""
