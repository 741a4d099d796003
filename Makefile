# make demo      - set up, run the demo, print where its report is
# make test      - set up, run the checks and the test suite
# make slow      - run the tests that take long, which make test leaves out
# make coverage  - run the suite and count the lines it reaches
# make soak      - do what people do for an hour (MINUTES=60), and fail if memory grows
# make mutants   - change the code in thousands of small ways, one at a time, and see that a test fails; takes hours
# make docs      - build the documentation's site in site/; whatever is wrong with it is an error
#
# PYTHON=python3.12       another interpreter (>= 3.11) for the virtual environment
# TORCH="torch==2.12.0"   another torch; its constraint is lifted
# TORCH_INDEX=...         where torch is looked for first; the default holds the builds without CUDA

PYTHON ?= python3
VENV ?= .venv
OUT ?= runs/demo
MINUTES ?= 60
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

PIP = $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: demo test slow coverage soak mutants lint docs clean

demo: $(VENV)/.demo
	$(VENV)/bin/wherenot demo --out $(OUT)

test: $(VENV)/.dev lint docs
	# One thread for each of two processes; a file's tests stay together, they share what is slow to make.
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile

slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile -m slow

# Counting lines doubles the time that tests take.
coverage: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered

soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/soak.py --minutes $(MINUTES)

mutants: $(VENV)/.dev
	$(PIP) install --quiet --no-deps cosmic-ray==8.7.0 parso==0.8.7
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/mutants.py runs/mutants.jsonl

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

$(VENV)/.demo: pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "wherenot needs Python >= 3.11: make PYTHON=python3.12 ...")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=25.1"
	grep -v "$(if $(TORCH),^torch==,^$$)" constraints.txt > $(VENV)/constraints.txt
	# Only torch is looked for in its own index. No retries: without that index the usual one serves.
	$(PIP) install --quiet --retries 0 --extra-index-url $(TORCH_INDEX) $(or $(TORCH),-c $(VENV)/constraints.txt torch)
	$(PIP) install --quiet -c $(VENV)/constraints.txt -e ".[demo]"
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) install --quiet -c $(VENV)/constraints.txt --group dev
	touch $@

clean:
	rm -rf $(VENV) runs site .pytest_cache .ruff_cache .coverage
