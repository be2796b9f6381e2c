# make quickstart    set up what pip installs and train the first run
# make quickstart-vla  the same with octo-nano, a small vision-language-action model, as the teacher
# make quickstart-opd  demonstrations, a token policy from them, and its distillation into others (VLA-OPD)
# make test          set everything up and run the tests (all but those marked gpu or slow)
# make test-newest   tests of the core alone, in .venv-newest, on the newest Python from 3.12 on that is at hand
# make setup         set everything up, ManiSkill and its Vulkan driver too
# make openvla-env   set up the virtual environment of the OpenVLA teacher's process, in OPENVLA_VENV
# make libero-env    set up the virtual environment of LIBERO's simulators, in .venv-libero
# make metaworld-env set up the virtual environment of Meta-World's simulators, in .venv-metaworld
# make peers-env     set up the virtual environment of what benchmarks.peers compares with, in .venv-peers
# make doctor        say what this machine has, and what to do about what it lacks
# make lint          ruff and mypy
# make types         mypy
# make docs          build the documentation site into build/site
# make docs-version  commit the site as version VERSION to the branch gh-pages, with a list of versions on every page
# make clean         remove the environment and the caches
#
# Variables: PYTHON (3.11 or newer), VENV (where the environment goes), CUDA (12 or 13, else by the driver),
# TORCH (the torch to install), TORCH_INDEX (the package index to take it from), PIP (the installer, with its
# options), ARGS (passed on to the program or to pytest).

PYTHON ?= python3
VENV ?= .venv
OPENVLA_VENV ?= .venv-openvla
PIP ?= $(VENV)/bin/python -m pip
ARGS ?=

# A working NVIDIA driver selects the CUDA packages: those of CUDA 12 where it is too old for CUDA 13, which torch on
# PyPI is built for. Without a driver torch is pinned. PyPI's brings several gigabytes of CUDA libraries even then;
# TORCH_INDEX=https://download.pytorch.org/whl/cpu does without them.
HAS_GPU := $(shell nvidia-smi -L 2>/dev/null | grep -q GPU && echo yes)
ifeq ($(HAS_GPU),yes)
CUDA ?= $(if $(shell nvidia-smi | grep -E 'CUDA (UMD )?Version *: *12\.'),12,13)
ifeq ($(CUDA),12)
TORCH_INDEX ?= https://download.pytorch.org/whl/cu126
endif
TORCH ?= torch>=2.11
CORE ?= .[cuda$(CUDA)]
EXTRAS ?= maniskill,dev,cuda$(CUDA)
else
TORCH ?= torch==2.13.0
CORE ?= .
EXTRAS ?= maniskill,dev
endif
INDEX = $(if $(TORCH_INDEX),--index-url '$(TORCH_INDEX)')

.PHONY: quickstart quickstart-vla quickstart-opd openvla-env libero-env metaworld-env peers-env test test-newest smoke doctor lint types docs docs-version clean setup install core
.DELETE_ON_ERROR:

quickstart: core
	$(VENV)/bin/python -m launch.train --preset=quickstart $(ARGS)

quickstart-vla: core
	$(VENV)/bin/python -m launch.train --preset=quickstart-vla $(ARGS)

quickstart-opd: core
	$(VENV)/bin/python -m launch.collect --preset=opd-teacher --output=runs/opd/demonstrations \
		--episodes=400 --noimages --perturb=0.1 --resume
	$(VENV)/bin/python -m launch.train --preset=opd-teacher --resume
	$(VENV)/bin/python -m launch.train --preset=opd-students --resume
	$(VENV)/bin/python -m launch.train --preset=opd-quickstart --resume $(ARGS)

test: setup types
	RPD_REQUIRE_VULKAN=1 $(VENV)/bin/python -m pytest -n 2 --dist=loadfile $(ARGS)

# NEWEST: found on PATH or among pyenv's; SMOKE: what needs no extra, a minute or two once the environment is there.
PYENV := $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions
NEWEST ?= $(shell for each in python3.13 $(PYENV)/3.13.*/bin/python python3.12 $(PYENV)/3.12.*/bin/python; do \
	$$each -c '' 2>/dev/null && echo $$each && break; done)
SMOKE ?= tests/losses tests/test_config.py tests/test_checkpoint.py tests/test_make_train.py tests/ipc/test_slots.py \
	tests/launch/test_flags.py tests/envs/tabletop/test_env.py tests/view
test-newest:
	$(if $(NEWEST),,$(error No Python 3.12 or newer here: name one, make test-newest NEWEST=python3.13))
	$(MAKE) smoke PYTHON=$(NEWEST) VENV=.venv-newest

smoke: core
	$(PIP) install 'pytest>=8.3.1' 'pytest-timeout>=2.3.1'
	$(VENV)/bin/python -m pytest $(SMOKE) $(ARGS)

doctor: install
	$(VENV)/bin/python -m launch.doctor $(ARGS)

lint: install types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: install
	$(VENV)/bin/mypy rpd_jax teachers launch

docs: install
	$(VENV)/bin/python -m mkdocs build --strict $(ARGS)

# Only the local branch is written: `git push origin gh-pages` publishes. VERSION: of the package, less its last part.
VERSION ?= $(shell sed -nE 's/^__version__ = "([0-9]+\.[0-9]+).*/\1/p' rpd_jax/__init__.py)
docs-version: install
	$(VENV)/bin/mike deploy --update-aliases $(ARGS) $(VERSION) latest
	$(VENV)/bin/mike set-default latest

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

openvla-env: $(OPENVLA_VENV)/.installed
libero-env: .venv-libero/.installed
metaworld-env: .venv-metaworld/.installed
peers-env: .venv-peers/.installed
setup: $(VENV)/.vulkan
install: $(VENV)/.installed
core: $(VENV)/.core

$(VENV)/.vulkan: $(VENV)/.installed rpd_jax/launch/vulkan.py
	$(VENV)/bin/python -m launch.vulkan
	touch $@

# What the tabletop suite and everything written in JAX need: no torch, no simulator with a renderer.
$(VENV)/.core: setup.cfg pyproject.toml | $(VENV)/.created
	$(PIP) install -e '$(CORE)'
	touch $@

$(VENV)/.installed: $(VENV)/.core
	$(PIP) install $(INDEX) '$(TORCH)'
	$(PIP) install -e '.[$(EXTRAS)]'
	touch $@

$(OPENVLA_VENV)/.installed: teachers/openvla/requirements.txt
	$(PYTHON) -m venv $(OPENVLA_VENV)
	$(OPENVLA_VENV)/bin/python -m pip install $(INDEX) '$(TORCH)'
	$(OPENVLA_VENV)/bin/python -m pip install -r $<
	touch $@

# They pin what learners need not have: newer versions of MuJoCo change LIBERO's scenes (its tasks.py).
define REQUIREMENTS
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -r $<
	touch $@
endef
.venv-%/.installed: rpd_jax/envs/%/requirements.txt
	$(REQUIREMENTS)
.venv-%/.installed: benchmarks/%/requirements.txt
	$(REQUIREMENTS)

$(VENV)/.created:
	@command -v $(firstword $(PYTHON)) >/dev/null || \
	  { echo 'No "$(PYTHON)" here: install Python 3.11 or newer, or name one: make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo '$(PYTHON) is older than 3.11: name a newer one, for example make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo '$(PYTHON) has no venv module: install it (Debian and Ubuntu: the package python3-venv)'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@
