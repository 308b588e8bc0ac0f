# Every target that needs the environment makes it first; `make` alone prints what there is.
PYTHON ?= python3
VENV   ?= .venv
SCALE  ?= quick
STORE  ?= store
LOGGER ?= wandb
BIN    := $(VENV)/bin
# All checks as a,b,c, but for the hour of sample_efficiency, which reproduce-mujoco runs.
NAMES  := $(filter-out sample_efficiency,$(basename $(notdir $(sort $(wildcard conf/check/*.yaml)))))
comma  := ,
space  := $(subst ,, )
CHECKS := $(subst $(space),$(comma),$(NAMES))
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup test test-slow test-slurm test-browser rliable selftest faults speed growth lint check \
	reproduce-atari reproduce-mujoco reproduce report clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

setup: $(READY) ## make the environment in .venv, with the exact versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

test: $(READY) ## unit and integration tests, a few minutes
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(READY) ## learning to a known optimum, under an hour
	$(BIN)/python -m pytest -n 2 -m slow

test-slurm: $(READY) ## runs on a real Slurm of one node, set up from Debian's packages and taken down (root, 20 minutes)
	@command -v slurmctld >/dev/null || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge; }
	$(BIN)/python -m pytest -m slurm tests/slurm

test-browser: $(READY) ## the report page in a headless Chromium: clicks, phone, dark, paper (root installs Debian's, a minute)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null && command -v pdftotext >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver poppler-utils; }
	@$(BIN)/python -c 'import selenium' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	$(BIN)/python -m pytest -n 0 -m browser tests/browser

rliable: ## our aggregates beside those of rliable 1.2.0, in an environment of its own (a minute)
	test -x .venv-rliable/bin/python || { $(PYTHON) -m venv .venv-rliable && .venv-rliable/bin/python -m pip install \
		--quiet --disable-pip-version-check 'rliable==1.2.0' 'arch==7.2.0' 'pandas<3'; }
	PYTHONPATH=. .venv-rliable/bin/python tests/oracle/rliable_agreement.py

selftest: $(READY) ## the referee judged on synthetic runs of known truth (8 minutes); into results/selftest
	$(BIN)/python -m analysis selftest out=results/selftest

faults: $(READY) ## kills, torn files, full disks and whatever else may happen; a table of what survived (40 minutes)
	$(BIN)/python -m tests.faults --out $(or $(OUT),results/faults/campaign.md)
	$(BIN)/python -m tests.faults.mutations --count 2000 --seed 0

speed: $(READY) .venv-peers/.ready ## beside Stable-Baselines3 and the bare emulator, in turn (15 minutes, run nothing beside it); into results/speed
	$(BIN)/python -m bench.speed $(if $(CONTEST),contest="$(CONTEST)") $(if $(ROUNDS),rounds="$(ROUNDS)")

growth: $(READY) ## what costs grow with: environments, seeds, batch, roll-out, steps, games, runs (15 minutes); into results/speed/growth
	$(BIN)/python -m bench.speed.growth $(if $(AXIS),axis="$(AXIS)") $(if $(ROUNDS),rounds="$(ROUNDS)")

.venv-peers/.ready: constraints.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		'stable-baselines3==2.9.2' torch ale-py opencv-python-headless 'gymnasium[mujoco]'
	@touch $@

lint: $(READY) ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test ## lint, types and tests

define reproduce_check
	@$(BIN)/python -m bench.suite run check=$(1) scale=$(SCALE) store=$(STORE) logger=$(LOGGER); suite=$$?; \
	if [ $$suite -gt 1 ]; then exit $$suite; fi; \
	$(BIN)/python -m analysis report check=$(1) scale=$(SCALE) store=$(STORE) && exit $$suite
endef

reproduce-atari: $(READY) ## PPO against DAPO on Atari; SCALE=smoke|quick|cpu|gpu|paper (default quick, 15 minutes)
	$(call reproduce_check,multi_step)

reproduce-mujoco: $(READY) ## PPO against DPO on MuJoCo; SCALE=smoke|quick|cpu|gpu|paper (default quick, 6 minutes)
	$(call reproduce_check,sample_efficiency)

reproduce: $(READY) ## every claim that two CPU cores can decide, without the hour of reproduce-mujoco; then against results/
	@$(BIN)/python -m bench.suite run check=$(CHECKS) scale=cpu store=$(STORE) logger=none; suite=$$?; \
	if [ $$suite -gt 1 ]; then exit $$suite; fi; \
	$(BIN)/python -m analysis report check=$(CHECKS) scale=cpu store=$(STORE) && \
	$(BIN)/python -m analysis confirm check=$(CHECKS) scale=cpu store=$(STORE) results=results && exit $$suite

report: $(READY) ## verdicts, figures and one page, report.html, from what the store holds, without running anything
	$(BIN)/python -m analysis report check=all store=$(STORE) \
		$(if $(filter command% environment%,$(origin SCALE)),scale=$(SCALE))

clean: ## remove the environment and caches; results in the store stay
	rm -rf $(VENV) .venv-rliable .venv-peers .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
