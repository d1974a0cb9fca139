PYTHON ?= python3
INSTALLED = .venv/.installed

.PHONY: check demo explore gpu kernels test
MAKEFLAGS += --jobs=2

# The main job on the embedded model: students really trained under every strategy, and the report;
# then the same question for small neural networks.
demo: $(INSTALLED)
	.venv/bin/python -m scripts.compare_strategies --engine sgd --steps-per-merge 10 100 --out runs/demo
	.venv/bin/python -m scripts.distill_neural --budgets per_merge total --steps-per-merge 30 \
		--teachers 1 --teacher-steps 1000 --out runs/demo_neural

# Plans and faces on a local page, computed while a slider moves.
explore: $(INSTALLED)
	.venv/bin/python -m scripts.explore

# Style and types: seconds, a minute the first time.
check: $(INSTALLED)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# Numba's kernels are compiled once, beside the checks, and not by every worker of the tests.
kernels: $(INSTALLED)
	.venv/bin/python -c "import mergelab as ml; ml.plan([0.5, 1.5], num_steps=4, progress=False)"

# A file's tests share their inputs. One worker more than cores, because tests also wait: for
# processes that they start, and for each other's locks. One thread per worker: with more, numba's
# first parallel kernel gives PyTorch as many, which wait for each other at every step. Bytecode that
# one process writes serves the others, so it is written whatever the environment says.
test: check kernels
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= .venv/bin/python -m pytest -q \
		--numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile --no-loadscope-reorder

# On a machine with a GPU: does everything about CUDA run, is it right, how fast is it. Nine minutes.
gpu: $(INSTALLED)
	.venv/bin/python -m benchmarks.gpu_acceptance --out runs/gpu_acceptance

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	@echo "installing into .venv; PyTorch is several gigabytes, so this takes minutes"
	.venv/bin/python -m pip install --quiet --editable '.[test]'
	touch $@
