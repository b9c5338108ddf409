# Each target makes the environment it needs, .venv, by itself.
PYTHON ?= python3
VENV := .venv
# Where an NVIDIA driver answers, TensorFlow's CUDA packages too.
CUDA := $(shell $(PYTHON) -I pipeline/common/nvidia.py 2> /dev/null && echo $(VENV)/.cuda)
INSTALLED := $(VENV)/.installed $(CUDA)
# PyTorch, which only the benchmark compares with, each release in an environment of its own. The
# faster one counts: by pytorch issue 183815, 2.13 is slower at bfloat16 convolutions.
TORCH := 2.12.1 2.13.0
PEERS := $(TORCH:%=.venv-bench/%/.installed)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# With it, Python would not find the stages and tools in this folder.
unexport PYTHONSAFEPATH
# By it, a cluster's module system puts libraries of other versions before the environment's.
unexport PYTHONPATH
# With these, pip would put the packages elsewhere, or nowhere.
unexport PIP_TARGET PIP_PREFIX PIP_USER PIP_DRY_RUN
# With it, Python would compile TensorFlow's 3,000 files at every start: 7 seconds instead of 3.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: repro plots export test soak mutants lint bench gpu-check lock

repro: $(INSTALLED)
	@# Where the folder is another user's, Git names the remedy; DVC would not.
	@git rev-parse
	dvc repro
	@git diff --quiet HEAD -- dvc.lock metrics plots 2> /dev/null || \
	    echo 'Commit these results to compare later ones with: git commit -am "Baseline"'

# DVC's page of plots, offline too, in the browser where there is one.
plots: $(INSTALLED)
	python -m tools.page
	dvc plots show
	@# Where there is no screen, Python would start a browser in this terminal, and wait for it.
	@test -z "$$DISPLAY$$WAYLAND_DISPLAY" -a "$$(uname)" != Darwin || \
	    python -m webbrowser "file://$(CURDIR)/dvc_plots/index.html" > /dev/null

# models/model.tflite, the model as one portable file. EXPORT=--int8 makes it a quarter of the size.
export: $(INSTALLED)
	python -m tools.export $(EXPORT)

test: lint
	@# A file at a time, since its fixtures may train or sweep.
	pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder --durations=10

# What takes longer: twenty kills of two recipes, killed experiments, a cluster that loses a node,
# edits of params.yaml.
soak: $(INSTALLED)
	pytest -rP tests/soak_resume.py tests/soak_sweep_*.py
	PARAMS_EXAMPLES=5000 pytest tests/unit/test_params.py -k any

# Over a thousand small mistakes in arithmetic and logic, one at a time: do the tests in tests/unit
# see them?
mutants: $(INSTALLED)
	rm -rf mutants
	python -m tests.mutation_score

lint: $(INSTALLED)
	ruff format --check .
	ruff check .
	mypy pipeline stages tools tests benchmarks

# Nothing else should run meanwhile. BENCH=--quick measures the step only.
bench: $(INSTALLED) $(PEERS)
	dvc repro preprocess
	python -m benchmarks $(BENCH)

# Checks a GPU's results, their reproducibility and its speed.
gpu-check: $(INSTALLED)
	dvc repro preprocess
	python -m benchmarks.gpu_check

# uv, from the PATH or at the version of the lock, takes 15 seconds for what takes pip a minute and a
# half, which does it where uv cannot.
PIP := python -m pip install --quiet --disable-pip-version-check
UV := { command -v uv > /dev/null || sed -n '/^uv==/,/[^\]$$/p' requirements.lock | \
    $(PIP) --require-hashes -r /dev/stdin; } && uv pip install --python
install = $(UV) $(1)/bin/python $(2) || $(1)/bin/$(PIP) $(2)

$(PEERS): .venv-bench/%/.installed: benchmarks/requirements.txt
	$(PYTHON) -m venv --clear .venv-bench/$*
	$(call install,.venv-bench/$*,-r $< torch==$*)
	@touch $@

$(VENV)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or \
	    sys.exit("Python %d.%d found, 3.11 to 3.13 needed; use make PYTHON=..." % v)'
	@echo "installing the packages into $(VENV): 1.2 GB to download, 3.3 GB on disk"
	$(PYTHON) -m venv --clear $(VENV)
	$(call install,$(VENV),--require-hashes -r $<)
	@$(VENV)/bin/python -Ic 'from importlib.metadata import version as v; v("dvc"), v("tensorflow")' \
	    || { echo "error: pip's or uv's own settings keep the packages out of $(VENV)" >&2; exit 2; }
	@touch $@

$(VENV)/.cuda: requirements-gpu.lock $(VENV)/.installed
	$(call install,$(VENV),--require-hashes -r $<)
	@touch $@

# After a change of dependencies in pyproject.toml. No index host goes into the lock.
LOCKED := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --quiet
lock: $(INSTALLED)
	uv pip compile pyproject.toml --extra dev $(LOCKED) --output-file requirements.lock
	python -c 'from importlib.metadata import requires; \
	    print(*(r.split(";")[0] for r in requires("tensorflow") if "and-cuda" in r), sep="\n")' \
	    | uv pip compile - $(LOCKED) --output-file requirements-gpu.lock
