# One command from a fresh checkout: each target does its own set-up.
PY := .venv/bin/python
export OMP_NUM_THREADS := 1

.PHONY: setup demo test test-all check bench
setup: .venv/.ok

.venv/.ok: pyproject.toml constraints.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	sh benchmarks/demo.sh

test: setup
	$(PY) -m pytest -m 'not slow'

test-all: setup
	$(PY) -m pytest

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: setup
	$(PY) -m benchmarks run --short
