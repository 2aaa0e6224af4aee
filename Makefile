# Everything a user or developer runs. The first target that needs it makes .venv and installs the package there.
PYTHON ?= python3
BIN := .venv/bin
export PYTHONUTF8 = 1

.PHONY: demo test check bench prove screenshots studio clean

demo: .venv/installed
	$(BIN)/understudy demo

test: .venv/installed
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.venv/typing $(BIN)/mypy -p understudy
	$(BIN)/lint-imports

bench: .venv/installed
	$(BIN)/python benchmarks/run.py

prove: .venv/installed
	$(BIN)/python benchmarks/prove.py

screenshots: .venv/installed
	$(BIN)/python docs/screenshots.py

# A reload would end what runs, and forget the threads; it also takes 100 MB. Nothing is told to langchain.com meanwhile.
studio: .venv/installed
	LANGGRAPH_CLI_NO_ANALYTICS=1 LANGGRAPH_NO_VERSION_CHECK=true $(BIN)/langgraph dev --no-reload --n-jobs-per-worker 4

# .venv/typing holds a link named as the package, since type checkers cannot follow the editable install.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	mkdir -p .venv/typing && ln -sfn ../.. .venv/typing/understudy
	touch $@

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .langgraph_api
