# `make demo` and `make test` are all a newcomer needs; each sets up .venv if need be.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE := 1
unexport PYTHONDONTWRITEBYTECODE

# What `make test-fast` leaves out, by the markers that tests/conftest.py gives.
FAST := not (browser or server or notebooks or training or java or ray or slow)

.PHONY: demo test test-fast test-core test-oldest fmt check docs venv lock clean

demo: $(STAMP)
	$(BIN)/segue demo --out demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --junitxml=.pytest_cache/junit.xml

# Under a minute on two cores: what a change should pass before it is committed.
test-fast: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "$(FAST)"

fmt: $(STAMP)
	$(BIN)/ruff check --fix src tests tools
	$(BIN)/ruff format src tests tools

check: $(STAMP)
	$(BIN)/ruff check src tests tools
	$(BIN)/ruff format --check src tests tools
	$(BIN)/mypy
	$(BIN)/mypy --strict --follow-imports=silent tools
	$(BIN)/lint-imports

# The site, in build/site; any warning is an error.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

venv: $(STAMP)

# What one installs without extras: every module can be imported, and the main jobs run. Then the fast tests with the oldest
# versions that pyproject.toml allows. Both in one environment, as torch is large; not from the working tree's src.
LANES := build/lanes
test-core:
	rm -rf build/lib $(LANES)
	$(PYTHON) -m venv $(LANES)
	$(LANES)/bin/python -m pip install --quiet --no-compile -c constraints.txt torch .
	$(LANES)/bin/python tools/smoke.py

# Left out: the tools of `dev`, which need newer packages than Segue, with the tests that use them; a mode that Pillow
# writes to TIFF files since 13; a type that safetensors writes, and a processor that transformers has without torchvision,
# since later versions.
EXTRAS := captions,cluster,formats,generate,medical,offline,onnx,report,serve,tensorboard
test-oldest:
	rm -rf build/lib
	test -d $(LANES) || $(PYTHON) -m venv $(LANES)
	$(LANES)/bin/python -m pip uninstall --quiet --yes typeguard  # the core lane's, a plugin of pytest, would stay
	$(LANES)/bin/python -m pip install --quiet --no-compile -c constraints-oldest.txt torch ".[$(EXTRAS)]" \
	  httpx hypothesis pytest pytest-timeout pytest-xdist
	OMP_NUM_THREADS=1 SEGUE_GOLDEN=off $(LANES)/bin/python -m pytest -n 2 -p no:cacheprovider -m "$(FAST)" \
	  --ignore tests/serving/test_schema.py \
	  --deselect tests/test_architecture.py::test_packages_import_only_what_they_may \
	  --deselect "tests/data/test_images.py::test_other_modes_are_read_too[YCbCr]" \
	  --deselect tests/api/test_hostile_checkpoints.py::test_weights_of_another_type_are_refused \
	  --deselect tests/methods/test_mask_sources.py::test_folders_of_either_kind_are_read_whole \
	  --deselect tests/methods/test_mask_sources.py::test_a_source_of_either_kind_moves_to_a_device

# Makes constraints.txt anew: the newest versions of everything, of torch the one that is named here.
TORCH := 2.13.0
lock:
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet torch==$(TORCH) -e ".[dev,docs,ray]"
	sed -n '/^#/p' constraints.txt > build/constraints.txt
	build/lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' >> build/constraints.txt
	mv build/constraints.txt constraints.txt

# torch is named, so that the pin chooses its build before anything else asks for another.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Segue needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
