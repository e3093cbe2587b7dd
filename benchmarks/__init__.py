"""Comparisons with published tables, exact optima and peers: one file a comparison. `python -m benchmarks list` names them."""
