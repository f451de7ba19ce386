# Everything a fresh machine with Python 3.10+ needs: `make demo` runs the main job, `make test` the tests.
# ENV=... uses another place for the virtual environment, EXTRA=... another set of extras.
PYTHON ?= python3
ENV ?= .venv
BIN = $(ENV)/bin
STAMP = $(ENV)/.installed

.PHONY: demo test lint benchmark clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/fseft demo --output demo-output

test: $(STAMP)
	# Two processes: Qt's Python bindings and torch do not share one, and each part has fixtures of its own.
	$(BIN)/python -m pytest Testing/engine
	$(BIN)/python -m pytest Testing/module

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: $(STAMP)
	$(BIN)/python Testing/benchmarks/few_shot.py --shots 1 5 --seeds 0 1 2 --output benchmark-output

clean:
	rm -rf demo-output benchmark-output build dist
