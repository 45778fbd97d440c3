# `make` lists the targets. Everything runs in .venv, which is made on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The processor's build where PyTorch's own index or a local wheel offers it; a bare range would draw gigabytes.
TORCH := torch==2.13.0

# What is slow to make is made once a file.
TEST = $(BIN)/python -m pytest --numprocesses auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: scale torture accuracy affected bench bench-large confirm overhead upstream selftest help demo test check format test-versions test-lowest test-integrations test-gpu test-page docs screenshot reference clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@

demo: $(VENV)/.installed ## set up; a fault of the newest release (XLNet), then a right model (Gemma3), at k = 1, 2, 4, 8
	$(BIN)/gacheck run --model tiny:xlnet --exit-zero
	$(BIN)/gacheck run --model tiny:gemma3

test: $(VENV)/.installed ## set up; run the tests, on all cores
	$(TEST)

check: $(VENV)/.installed ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TEST)

format: $(VENV)/.installed ## rewrite the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-versions: $(VENV)/.installed ## the verdicts under real transformers releases, each in an environment of its own
	$(BIN)/python -m pytest tests/releases -m releases --numprocesses auto --dist loadgroup

test-lowest: $(VENV)/.installed ## the fast tests with the lowest versions of every direct dependency
	$(BIN)/python -m pytest tests/releases -m lowest

test-integrations: $(VENV)/.installed ## gacheck attach in front of LLaMA-Factory, TRL, SetFit, torchrun and accelerate
	$(BIN)/python -m pytest tests/integrations -m integrations

test-gpu: $(VENV)/.installed ## runs on a CUDA device, in every precision; says so where there is none
	$(BIN)/python -m pytest tests/gpu -m gpu -rs

test-page: $(VENV)/.installed ## the HTML page in headless Chromium, with axe-core; installs both where they are missing
	bash tests/page/prepare.sh
	$(BIN)/python -m pytest tests/page -m page

docs: $(VENV)/.installed ## run the documented examples under real releases; insert their output in README and docs
	$(BIN)/python docs/make_examples.py

screenshot: $(VENV)/.installed ## make docs/examples/page.png, the HTML page as a browser shows it
	bash tests/page/prepare.sh
	$(BIN)/python docs/make_screenshot.py

scale: $(VENV)/.installed ## work out what a run would take on many GPUs, and write docs/scale.md
	$(BIN)/python docs/make_scale.py

reference: $(VENV)/.installed ## make docs/cli.md, docs/record.md and the JSON Schemas from the program
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_schemas.py

selftest: $(VENV)/.installed ## plant 19 faults and check that each is found
	$(BIN)/gacheck selftest -v

torture: $(VENV)/.installed ## kill, damage, fuzz, starve; write docs/reliability.md (a quarter of an hour on two cores)
	$(BIN)/python docs/make_reliability.py --jobs 2

RUNS ?= 2000
JOBS ?= 2

accuracy: $(VENV)/.installed ## how often gacheck is wrong: right trainings accused, faults missed (twenty minutes; RUNS=50 is a look)
	$(BIN)/python docs/make_accuracy.py $(RUNS) --jobs $(JOBS)

affected: $(VENV)/.installed ## survey every class under three releases, and write docs/affected-models.md (hours; goes on where it was interrupted)
	$(BIN)/python docs/make_affected.py

confirm: $(VENV)/.installed ## train what `make affected` judged by a bare Trainer without gacheck, and write docs/confirmation.md
	$(BIN)/python docs/make_confirmation.py --jobs $(JOBS)

upstream: $(VENV)/.installed ## patches for transformers, each tried on a copy of it (an hour; goes on where it was interrupted)
	$(BIN)/python docs/make_upstream.py

overhead: $(VENV)/.installed ## what being watched costs a training of 60 million parameters (seven minutes, nothing else running)
	$(BIN)/python docs/make_overhead.py

bench: $(VENV)/.installed ## what everything costs, against doing the same without gacheck: docs/benchmarks.md (half an hour, alone); fails if too much
	$(BIN)/python docs/make_bench.py

bench-large: $(VENV)/.installed ## the memory of a run of 350 million parameters, beside its estimate (twenty minutes, 10 GB)
	$(BIN)/python docs/make_bench.py --large

clean: ## remove .venv and caches; runs are kept
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
