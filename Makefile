# The first two commands on a clean checkout, with Python 3.11 or later and make:
#
#   make demo    compress the network in models/digits and show what came out
#   make test    lint, type check, test and build the documentation into build/site
#
# make demo RUNTIME=cpu takes onnxruntime in place of onnxruntime-gpu (which runs without a GPU, too, but is larger);
# what was chosen once stays chosen until make clean.

PYTHON ?= python3
RUNTIME ?= $(if $(wildcard .venv/.installed-cpu),cpu,gpu)

VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
OTHER_RUNTIME := $(if $(filter gpu,$(RUNTIME)),onnxruntime,onnxruntime-gpu)

# Installed once; again when the dependencies or the runtime change.
RUNTIME_STAMP := $(VENV)/.installed-$(RUNTIME)
DEV_STAMP := $(VENV)/.installed-$(RUNTIME)-dev
ATHERIS_STAMP := $(VENV)/.installed-$(RUNTIME)-fuzz

# mypy and mkdocstrings find packages by their folder's name: this folder of links gives the repository the name netsurgeon.
TYPED := build/typing/netsurgeon
TYPED_PATHS = $(TYPED) tests docs examples kernels/netsurgeon_sparse $(if $(wildcard benchmarks/*.py),benchmarks)

DEMO := build/demo

PYTHONS ?= python3.11 python3.12 python3.13 python3.14
FAST_TESTS := tests/test_wheel.py tests/passes/solvers tests/passes/packing tests/passes/graph \
    $(addprefix tests/pipeline/,command_line notation options data model_files report terminal runtime)

# The runtime of browsers, for tests in node.
WEB := onnxruntime-web@1.30.0
WEB_STAMP := build/runtimes/.installed

.PHONY: demo test kernels wheels test-runtimes test-pythons fuzz lint types docs operators messages times schema package-links clean
.DELETE_ON_ERROR:

ifeq ($(filter $(RUNTIME),gpu cpu),)
$(error RUNTIME is '$(RUNTIME)', expected gpu or cpu)
endif

demo: $(RUNTIME_STAMP)
	@mkdir -p $(DEMO)
	$(BIN)/python cli.py compress models/digits/digits.onnx \
	    --data models/digits/calibration.npz --test models/digits/test.npz --sparsity 0.9 \
	    -o $(DEMO)/digits-small.onnx --report $(DEMO)/report.html
	@echo
	@echo "The compressed network: $(DEMO)/digits-small.onnx"
	@echo "The report:             $(DEMO)/report.html"

# Tests run in two processes, with a core each. The runtime of browsers (33 MB) is fetched where npm is there; the attack ends it all, and
# fails it on a finding.
test: lint types docs $(WEB_STAMP)
	$(BIN)/pytest --numprocesses 2 --dist worksteal
	$(MAKE) fuzz

# Packed models in the runtimes of docs/runtimes.md, as in make test, and nothing else. OpenVINO (59 MB) is part of the
# development environment where it installs; onnxruntime-web is fetched by npm. What is not there is skipped, and named.
test-runtimes: $(DEV_STAMP) $(WEB_STAMP)
	$(BIN)/pytest tests/passes/packing/test_runtimes.py

# Build the wheel and run the fast part of the tests, without PyTorch, on each Python that is here; the others are named.
test-pythons:
	@for python in $(PYTHONS); do \
	    $$python -c 'import venv' 2>/dev/null || { echo "$$python is not here"; continue; }; \
	    folder=build/pythons/$$(basename $$python) && $$python -m venv $$folder && echo "$$($$folder/bin/python -V):" && \
	    $$folder/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[cpu,dev]' && \
	    $$folder/bin/python -m pytest $(FAST_TESTS) || exit 1; \
	done

# Mutated models, data, recipes, options and folders, for two minutes, and twenty seconds of models that atheris (35 MB)
# makes, where it installs: benchmarks/README.md.
fuzz: $(DEV_STAMP) $(ATHERIS_STAMP)
	$(BIN)/python benchmarks/fuzz.py --minutes 2 --cases 2500 --seed $(or $(SEED),0) --keep build/fuzz
	$(BIN)/python benchmarks/fuzz.py --atheris 20 --seed $(or $(SEED),0)

# The wheel of netsurgeon-sparse, in build/kernels/wheel: docs/sparse.md. make test builds its library for itself, where
# cmake, ninja and a C++ compiler (or the package ziglang) are there, and skips its tests elsewhere.
kernels: $(DEV_STAMP)
	$(BIN)/python -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir build/kernels/wheel ./kernels
	@ls -l build/kernels/wheel

# Wheels for every Linux with glibc 2.17 (2014) or later, x86-64 and AArch64, in build/kernels/wheels, by the compiler of
# the package ziglang. pip builds apart from what is installed, so the compiler is named by its path. The first time zig
# builds C++'s library, too.
wheels: $(DEV_STAMP)
	$(INSTALL) ziglang
	@zig=$$($(BIN)/python -c 'import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).with_name("zig"))'); \
	for machine in x86_64 aarch64; do \
	    CXX="$$zig c++ -target $$machine-linux-gnu.2.17" _PYTHON_HOST_PLATFORM=manylinux2014-$$machine \
	    CMAKE_ARGS="-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=$$machine" \
	    $(BIN)/python -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir build/kernels/wheels \
	        ./kernels || exit 1; \
	done
	@ls -l build/kernels/wheels

lint: $(DEV_STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(DEV_STAMP) package-links
	$(BIN)/mypy $(TYPED_PATHS)

# A broken link or a reference to a name that is not there fails; not with --quiet, under which --strict sees nothing.
docs: $(DEV_STAMP) package-links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What can be done with every operator, read from the code; tests/test_operators_page.py fails when the page is stale.
operators: $(DEV_STAMP)
	$(BIN)/python docs/operators.py

# Codes of notes, warnings and errors; tests/pipeline/test_messages.py fails when the page is stale.
messages: $(DEV_STAMP)
	$(BIN)/python docs/message_codes.py

# How long runs take, from the benchmarks' results; tests/test_times_page.py fails when the page is stale.
times: $(DEV_STAMP)
	$(BIN)/python docs/run_times.py

# The JSON schema of the report, made from its dataclasses; tests/pipeline/report/test_schema.py fails when it is stale.
schema: $(DEV_STAMP)
	$(BIN)/python docs/report_schema.py

package-links:
	@rm -rf $(TYPED)
	@mkdir -p $(TYPED)
	@ln -s ../../../__init__.py ../../../cli.py ../../../py.typed ../../../pipeline ../../../passes ../../../models $(TYPED)/

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "netsurgeon needs Python 3.11 or later; $(PYTHON) is not. Try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# onnxruntime and onnxruntime-gpu overwrite each other, so the one that is there goes before the other one comes.
$(RUNTIME_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@if $(BIN)/python -m pip show --quiet $(OTHER_RUNTIME) 2>/dev/null; then \
	    $(BIN)/python -m pip uninstall --yes --quiet onnxruntime onnxruntime-gpu; fi
	@rm -f $(VENV)/.installed-*
	@echo "Installing into $(VENV), once. The first time this can take minutes; RUNTIME=cpu downloads less."
	$(INSTALL) -e '.[$(RUNTIME)]'
	@touch $@

$(DEV_STAMP): $(RUNTIME_STAMP)
	$(INSTALL) -e '.[$(RUNTIME),dev,docs,torch]'
	@$(INSTALL) -e '.[$(RUNTIME),mlflow]' || echo "MLflow does not install here: its tests will be skipped"
	@$(INSTALL) -e '.[$(RUNTIME),runtimes]' || echo "OpenVINO does not install here: its tests will be skipped"
	@touch $@

$(ATHERIS_STAMP): $(DEV_STAMP)
	@$(INSTALL) -e '.[$(RUNTIME),fuzz]' || echo "atheris does not install here: no models will be guided by what they reach"
	@touch $@

# Tried again each time where it does not install: quickly, without npm's own waiting for a network.
$(WEB_STAMP): Makefile
	@mkdir -p $(@D)
	@if npm install --prefix $(@D) --no-save --no-audit --no-fund --ignore-scripts --silent --fetch-retries=0 $(WEB); \
	    then touch $@; else echo "npm is not here or cannot install $(WEB): its tests will be skipped"; fi
