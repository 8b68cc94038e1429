# SPDX-License-Identifier: Apache-2.0
# What a person does with a checkout. `make` alone lists it; what a target
# needs it sets up itself, and does nothing when that is there already.

PYTHON  := /usr/bin/python3
VENV    := .venv
BIN     := $(VENV)/bin
PREFIX  ?= /usr/local
DESTDIR ?=
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo)

# BCC is Debian's and made for Debian's Python; PyPI has an unrelated `bcc`.
PACKAGES := python3 python3-venv python3-bpfcc libbpf1 linux-libc-dev iproute2 \
	ethtool iputils-ping ca-certificates
DEV_PACKAGES := iperf3 sockperf nftables tcpdump strace vagrant vagrant-libvirt
# What boots another kernel over this machine's files.
KERNEL_PACKAGES := qemu-system-x86 busybox-static cpio kmod xz-utils
CONTAINER_PACKAGES := podman runc
# What makes another Debian's root, and what runs in it.
DISTRIBUTION_PACKAGES := debootstrap debian-archive-keyring bubblewrap
APT := env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300

LAUNCHER    := $(DESTDIR)$(PREFIX)/bin/cipu-xdp
BASH_SCRIPT := $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cipu-xdp
ZSH_SCRIPT  := $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_cipu-xdp
FISH_SCRIPT := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/cipu-xdp.fish
INSTALLED   := $(LAUNCHER) $(BASH_SCRIPT) $(ZSH_SCRIPT) $(FISH_SCRIPT)
# Holds a NAME.json for each instance that is attached.
RECORDS     := /run/cipu-xdp
# A line of the launcher: what has it was put there by `make install`.
MARK        := Put here by make install of cipu-xdp

UNIT := $(DESTDIR)$(PREFIX)/lib/systemd/system/cipu-xdp.service

SHELL := /bin/bash
.SHELLFLAGS := -e -u -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test test-unit test-killed test-kernels test-tenants test-distributions lint format typecheck check bench bench-policy bench-upgrades \
	bench-limits bench-enis install install-service uninstall uninstall-service clean distclean packages packages-dev packages-kernels packages-containers packages-distributions

# $(call need,PACKAGE...): install what is missing, and ask apt only then.
define need
missing=$$(for package in $(1); do \
	dpkg-query -W -f '$${db:Status-Status}\n' $$package 2>/dev/null \
	| grep -qx installed || echo $$package; done); \
if [ -n "$$missing" ]; then \
	$(SUDO) $(APT) update; \
	$(SUDO) $(APT) -y install --no-install-recommends $$missing; \
fi
endef

# $(call systemd,VERB): tell a systemd that runs here.
define systemd
if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
	systemctl daemon-reload; systemctl -q $(1) cipu-xdp.service; \
fi
endef

# Refuse to touch a launcher that something else put there.
define ours
if [ -e $(LAUNCHER) ] && ! grep -q '$(MARK)' $(LAUNCHER); then \
	echo "$(LAUNCHER) was not put there by make install; it stays." >&2; exit 1; \
fi
endef

help: ## list the targets (this)
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(VENV)/.setup ## install what the command needs; then .venv/bin/cipu-xdp works as root

setup-dev: packages-dev $(VENV)/.setup-dev ## setup, and what tests and checks need

demo: setup ## build two hosts in namespaces, show the overlay at work, clean up
	@$(SUDO) $(BIN)/cipu-xdp lab demo

# A test starts hundreds of commands: each would compile all of its modules where bytecode is not kept.
PYTEST := env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(CURDIR)/build/bytecode $(BIN)/pytest
# A share of the test files for each CPU, kept apart by tests/worker.
SHARED := --dist loadfile --tx '$(shell nproc)*popen//python=$(CURDIR)/tests/worker'

test: setup-dev ## run every test (as root)
	@$(SUDO) $(PYTEST) $(SHARED)

# Each command makes hundreds of calls, and each kill is followed by a repair.
test-killed: setup-dev ## kill commands at each change they make, not only at some (as root; an hour)
	@$(SUDO) env KILLS=1000000 $(PYTEST) $(SHARED) -k killed tests/fabric

# KERNELS="6.1" for one of them; PYTEST_WORDS="-k native" for some of the tests.
test-kernels: setup-dev packages-kernels ## run tests on Debian's kernels 6.1 and 6.12, emulated (as root)
	@$(SUDO) $(BIN)/python tests/kernels/run.py $(KERNELS) --pytest "$(PYTEST_WORDS)"

test-tenants: setup-dev packages-kernels packages-containers ## run tests with an emulated machine and a container as tenants (as root)
	@$(SUDO) $(PYTEST) tests/tenants

# DISTRIBUTIONS="bookworm trixie" for more; PYTEST_WORDS="tests/fabric -k tap" for other tests; MIRROR=URL.
test-distributions: setup-dev packages-distributions ## install and test on a fresh Debian 13, over this kernel (as root; half an hour)
	@$(SUDO) $(BIN)/python tests/distributions/run.py $(DISTRIBUTIONS) --mirror "$(MIRROR)" --pytest "$(PYTEST_WORDS)"

test-unit: $(VENV)/.setup-dev ## run the tests that need no root
	@$(BIN)/pytest -m "not root" tests/unit

lint: $(VENV)/.setup-dev ## check style and form of the Python
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.setup-dev ## put the Python into form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

typecheck: $(VENV)/.setup-dev build/types ## check the types (mypy --strict)
	@$(BIN)/mypy

check: lint typecheck test-unit ## lint, typecheck and test-unit

bench: setup-dev ## measure beside kernel vxlan and beside no overlay (as root)
	@$(SUDO) $(BIN)/python tests/bench/compare.py $(BENCH)

bench-policy: setup-dev ## measure rules, sessions, scans, beside nftables and bare tables (as root)
	@$(SUDO) $(BIN)/python tests/bench/policy.py $(BENCH)

bench-limits: setup-dev ## measure rates, their cost, neighbours, beside TBF, HTB and bare hosts (as root)
	@$(SUDO) $(BIN)/python tests/bench/limits.py $(BENCH)

bench-upgrades: setup-dev ## count what 100 upgrades under load lose (as root)
	@$(SUDO) $(BIN)/python tests/bench/upgrades.py $(BENCH)

bench-enis: setup-dev ## measure a VPC of a million remote ENIs, and commands beside it (as root)
	@$(SUDO) $(BIN)/python tests/bench/many_enis.py $(BENCH)

install: setup ## put cipu-xdp and its shell completions on the PATH (PREFIX, DESTDIR)
	@$(ours)
	@install -d $(sort $(dir $(INSTALLED)))
	@printf '#!/bin/sh\n# %s\nexec %q "$$@"\n' '$(MARK)' '$(abspath $(BIN))/cipu-xdp' > $(LAUNCHER)
	@chmod 755 $(LAUNCHER)
	@$(BIN)/cipu-xdp completion bash > $(BASH_SCRIPT)
	@$(BIN)/cipu-xdp completion zsh > $(ZSH_SCRIPT)
	@$(BIN)/cipu-xdp completion fish > $(FISH_SCRIPT)
	@chmod 644 $(BASH_SCRIPT) $(ZSH_SCRIPT) $(FISH_SCRIPT)
	@printf 'installed %s\n' $(INSTALLED)

install-service: install ## have systemd bring back at boot what was attached
	@install -d $(dir $(UNIT))
	@sed 's|^ExecStart=[^ ]*|ExecStart=$(PREFIX)/bin/cipu-xdp|' cli/systemd/cipu-xdp.service > $(UNIT)
	@chmod 644 $(UNIT)
	@$(call systemd,enable)
	@printf 'installed %s\n' $(UNIT)

uninstall-service: ## take that off again; what is attached stays
	@if [ -e $(UNIT) ]; then $(call systemd,disable); rm -fv $(UNIT); fi

uninstall: ## take off what install put there; refuses while something is attached
	@attached=$$(for file in $(RECORDS)/*.json; do \
		if [ -e "$$file" ]; then basename "$$file" .json; fi; done); \
	if [ -z "$(DESTDIR)" ] && [ -n "$$attached" ]; then \
		echo "still attached:" $$attached; \
		echo "First run cipu-xdp --instance NAME detach --all for each."; \
		exit 1; \
	fi >&2
	@$(ours)
	@if [ -e $(UNIT) ]; then echo "First run make uninstall-service." >&2; exit 1; fi
	@rm -fv $(INSTALLED)
	@rm -rf $(DESTDIR)/var/cache/cipu-xdp

clean: ## remove what checks and builds left behind
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## the same, and the venv
	@rm -rf $(VENV)

packages:
	@$(call need,$(PACKAGES))

packages-dev: packages
	@$(call need,$(DEV_PACKAGES))

packages-kernels: packages
	@$(call need,$(KERNEL_PACKAGES))

packages-containers: packages
	@$(call need,$(CONTAINER_PACKAGES))

packages-distributions: packages
	@$(call need,$(DISTRIBUTION_PACKAGES))

$(VENV)/.setup: pyproject.toml | packages
	@$(PYTHON) -m venv --system-site-packages $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.setup-dev: pyproject.toml $(VENV)/.setup
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The packages as they are installed, for mypy, which cannot follow an editable install.
build/types: pyproject.toml
	@mkdir -p $@/cipu_xdp
	@for package in loader cli bpf; do ln -sfn ../../../$$package $@/cipu_xdp/$$package; done
	@ln -sfn ../../../vagrant/topologies $@/cipu_xdp/topologies
	@touch $@
