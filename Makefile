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
DEV_PACKAGES := iperf3 sockperf nftables tcpdump tshark strace tmux vagrant vagrant-libvirt shellcheck
# What boots another kernel over this machine's files.
KERNEL_PACKAGES := qemu-system-x86 busybox-static cpio kmod xz-utils
CONTAINER_PACKAGES := podman runc
VAGRANT_PACKAGES := vagrant vagrant-libvirt ruby-libvirt libvirt-daemon-system libvirt-daemon-driver-qemu \
	libvirt-clients qemu-system-x86 dnsmasq-base iptables rsync openssh-client
BOX_PACKAGES := vagrant debootstrap debian-archive-keyring grub-pc-bin fdisk e2fsprogs qemu-utils
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
# A line of the launcher and the unit: what has it was put there by `make install`.
MARK        := Put here by make install of cipu-xdp

UNIT := $(DESTDIR)$(PREFIX)/lib/systemd/system/cipu-xdp.service
# Is there where systemd runs.
SYSTEMD := /run/systemd/system
# Where it looks for units (systemd.unit(5)).
UNIT_PATH := /etc/systemd/system /usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system
# What the system's own trees have of themselves, empty or not (FHS 4.9).
SYSTEM_PREFIXES := / /usr /usr/local
export INSTALL_PREFIX := $(PREFIX)
export INSTALL_DESTDIR := $(DESTDIR)

# Of the machines that are Vagrant's.
TOPOLOGY ?= two-hosts
BOX      := build/vagrant/cipu-xdp.box
BOX_NAME := cipu-xdp/bookworm64
WHEELS   := build/wheels

SHELL := /bin/bash
.SHELLFLAGS := -e -u -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test test-unit test-killed test-kernels test-kernels-brief \
	test-tenants test-vagrant test-distributions lint format typecheck check bench bench-policy \
	bench-upgrades bench-limits bench-watching bench-enis install install-service uninstall uninstall-service \
	clean distclean vagrant-up vagrant-check vagrant-down vagrant-box wheels
# Steps of targets, that nobody asks for by name.
.PHONY: packages packages-dev packages-kernels packages-containers packages-vagrant packages-box \
	packages-distributions place unit-is-ours

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

# Does systemd run here, and is it to know?
systemd = [ -z "$(DESTDIR)" ] && [ -d $(SYSTEMD) ]

# $(call ours,FILE): refuse to touch a file that something else put there.
define ours
if [ -e $(1) -o -L $(1) ] && ! grep -qs '$(MARK)' $(1); then \
	echo "$(1) was not put there by make install; it stays." >&2; exit 1; \
fi
endef

# $(call prune,DIRECTORY...): remove what is empty of these, which are below PREFIX.
define prune
for directory in $(1); do \
	top=$(DESTDIR)$(PREFIX)/$${directory%%/*}; below=$${directory#$${directory%%/*}}; \
	if [ -n "$$below" ] && [ -d $$top$$below ]; then \
		(cd $$top; rmdir -p --ignore-fail-on-non-empty $${below#/}); \
	fi; \
	if [ -d $$top ] && [ -z "$(filter $(or $(abspath $(PREFIX)),/),$(SYSTEM_PREFIXES))" ]; then \
		rmdir --ignore-fail-on-non-empty $$top; \
	fi; \
done
endef

help: ## list the targets (this)
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(VENV)/.setup ## install what the command needs; then .venv/bin/cipu-xdp works as root

setup-dev: packages-dev $(VENV)/.setup-dev ## setup, and what tests and checks need

demo: setup ## build two hosts in namespaces, show the overlay at work, clean up
	@$(SUDO) $(BIN)/cipu-xdp lab demo

# A test starts hundreds of commands: each would compile all of its modules where bytecode is not kept.
PYTEST := env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(CURDIR)/build/bytecode $(BIN)/pytest
# A share of the test files for each CPU, kept apart by tests/worker. In their order, the quick ones of
# tests/unit are last, and no CPU waits long for another.
SHARED := --dist loadfile --no-loadscope-reorder --tx '$(shell nproc)*popen//python=$(CURDIR)/tests/worker'

test: setup-dev ## run every test (as root)
	@$(SUDO) $(PYTEST) $(SHARED)

# Each command makes hundreds of calls, and each kill is followed by a repair.
test-killed: setup-dev ## kill commands at each change they make, not only at some (as root; an hour)
	@$(SUDO) env KILLS=1000000 $(PYTEST) $(SHARED) -k killed tests/fabric

# KERNELS="6.1" for one of them; PYTEST_WORDS="-k native" for some of the tests.
test-kernels: setup-dev packages-kernels ## run tests on Debian's kernels 6.1 and 6.12, emulated (as root)
	@$(SUDO) $(BIN)/python tests/kernels/run.py $(KERNELS) --pytest="$(PYTEST_WORDS)"

test-kernels-brief: setup-dev packages-kernels ## run one test on each of these kernels, as CI does (as root)
	@$(SUDO) $(BIN)/python tests/kernels/run.py --brief $(KERNELS)

test-tenants: setup-dev packages-kernels packages-containers ## run tests with an emulated machine and a container as tenants (as root)
	@$(SUDO) $(PYTEST) tests/tenants

test-vagrant: setup packages-vagrant packages-box $(BOX) wheels ## bring up emulated machines, check, halt one and check again (as root)
	@$(SUDO) tests/vagrant/run.sh $(BOX) $(TOPOLOGY)

# DISTRIBUTIONS="bookworm trixie" for more; PYTEST_WORDS="tests/fabric -k tap" for other tests; MIRROR=URL.
test-distributions: setup-dev packages-distributions ## install and test on a fresh Debian 13, over this kernel (as root; half an hour)
	@$(SUDO) $(BIN)/python tests/distributions/run.py $(DISTRIBUTIONS) --mirror="$(MIRROR)" --pytest="$(PYTEST_WORDS)"

test-unit: $(VENV)/.setup-dev ## run the tests that need no root
	@$(BIN)/pytest -m "not root" tests/unit

# Wheels that are kept are kept as the project asks for them.
vagrant-up: setup packages-vagrant $(if $(wildcard $(WHEELS)),wheels) ## bring up TOPOLOGY as virtual machines, and check it
	@$(BIN)/python vagrant/lab.py up $(TOPOLOGY)

vagrant-check: setup ## check it again
	@$(BIN)/python vagrant/lab.py check $(TOPOLOGY)

vagrant-down: setup ## remove those machines
	@$(BIN)/python vagrant/lab.py down $(TOPOLOGY)

vagrant-box: packages-vagrant packages-box $(BOX) ## make a box that needs no network inside, known to Vagrant as cipu-xdp/bookworm64
	@vagrant box add --force --name $(BOX_NAME) $(BOX)

wheels: $(WHEELS)/.made ## keep here what pip installs, for machines without a network

lint: $(VENV)/.setup-dev ## check style and form of the Python
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.setup-dev ## put the Python into form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

typecheck: $(VENV)/.setup-dev build/types ## check the types (mypy --strict)
	@$(BIN)/mypy

check: lint typecheck test-unit ## lint, typecheck and test-unit

# BENCH="CASE... --rounds N --seed N --json FILE --plot FILE --compare FILE" for all but upgrades and enis.
bench: setup-dev ## measure packets, connections, sessions, memory, beside kernel vxlan and bare hops (as root; 20 minutes)
	@$(SUDO) $(BIN)/python tests/bench/performance.py $(BENCH)

bench-policy: setup-dev ## measure rules, sessions, scans, beside nftables and bare tables (as root)
	@$(SUDO) $(BIN)/python tests/bench/policy.py $(BENCH)

bench-limits: setup-dev ## measure rates, their cost, neighbours, beside TBF, HTB and bare hosts (as root)
	@$(SUDO) $(BIN)/python tests/bench/limits.py $(BENCH)

bench-upgrades: setup-dev ## count what 100 upgrades under load lose (as root)
	@$(SUDO) $(BIN)/python tests/bench/upgrades.py $(BENCH)

bench-watching: setup-dev ## measure what drops and flow logs cost packets, beside nobody watching (as root)
	@$(SUDO) $(BIN)/python tests/bench/watching.py $(BENCH)

bench-enis: setup-dev ## measure a VPC of a million remote ENIs, and commands beside it (as root)
	@$(SUDO) $(BIN)/python tests/bench/many_enis.py $(BENCH)

# Before anything is done. What make and shells read as more than one word cannot be a place here.
place:
	@case "$$INSTALL_PREFIX" in ""|/*) ;; *) \
		echo "PREFIX is $$INSTALL_PREFIX: give an absolute path." >&2; exit 1;; \
	esac
	@case "$$INSTALL_DESTDIR$$INSTALL_PREFIX" in *[!A-Za-z0-9/._+@:,-]*) \
		echo "cannot install to $$INSTALL_DESTDIR$$INSTALL_PREFIX: give a PREFIX and DESTDIR" \
			"of letters, digits and / . _ + @ : , - only." >&2; exit 1;; \
	esac

unit-is-ours: place
	@$(call ours,$(UNIT))

install: place setup ## put cipu-xdp and its shell completions on the PATH (PREFIX, DESTDIR)
	@$(call ours,$(LAUNCHER))
	@install -d $(sort $(dir $(INSTALLED)))
	@printf '#!/bin/sh\n# %s\nexec %q "$$@"\n' '$(MARK)' '$(abspath $(BIN))/cipu-xdp' > $(LAUNCHER)
	@chmod 755 $(LAUNCHER)
	@$(BIN)/cipu-xdp completion bash > $(BASH_SCRIPT)
	@$(BIN)/cipu-xdp completion zsh > $(ZSH_SCRIPT)
	@$(BIN)/cipu-xdp completion fish > $(FISH_SCRIPT)
	@chmod 644 $(BASH_SCRIPT) $(ZSH_SCRIPT) $(FISH_SCRIPT)
	@printf 'installed %s\n' $(INSTALLED)

install-service: unit-is-ours install ## have systemd bring back at boot what was attached
	@install -d $(dir $(UNIT))
	@{ echo '# $(MARK)'; \
		sed 's|^ExecStart=[^ ]*|ExecStart=$(PREFIX)/bin/cipu-xdp|' cli/systemd/cipu-xdp.service; \
	} > $(UNIT)
	@chmod 644 $(UNIT)
	@printf 'installed %s\n' $(UNIT)
	@if $(systemd); then \
		systemctl daemon-reload; systemctl -q enable $(UNIT); \
	elif [ -z "$(DESTDIR)" ] && [ -z "$(filter $(abspath $(dir $(UNIT))),$(UNIT_PATH))" ]; then \
		echo "warning: systemd does not look in $(dir $(UNIT)). Where it runs, do" \
			"systemctl enable $(UNIT)." >&2; \
	fi

uninstall-service: unit-is-ours ## take that off again; what is attached stays
	@if [ -e $(UNIT) ]; then \
		if $(systemd) && systemctl cat cipu-xdp.service >/dev/null 2>&1; then \
			systemctl -q disable cipu-xdp.service; \
		fi; \
		rm -fv $(UNIT); \
		if $(systemd); then systemctl daemon-reload; fi; \
	fi
	@$(call prune,lib/systemd/system)

uninstall: place ## take off what install put there; refuses while something is attached
	@attached=$$(for file in $(RECORDS)/*.json; do \
		if [ -e "$$file" ]; then basename "$$file" .json; fi; done); \
	if [ -z "$(DESTDIR)" ] && [ -n "$$attached" ]; then \
		echo "still attached:" $$attached; \
		echo "First run cipu-xdp --instance NAME detach --all for each."; \
		exit 1; \
	fi >&2
	@$(call ours,$(LAUNCHER))
	@if [ -e $(UNIT) ]; then echo "First run make uninstall-service." >&2; exit 1; fi
	@rm -fv $(INSTALLED)
	@$(call prune,$(patsubst $(DESTDIR)$(PREFIX)/%/,%,$(sort $(dir $(INSTALLED)))))
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

packages-vagrant: packages
	@$(call need,$(VAGRANT_PACKAGES))

packages-box:
	@$(call need,$(BOX_PACKAGES))

$(BOX): vagrant/box.sh | packages-box
	@mkdir -p $(dir $@)
	@$(SUDO) vagrant/box.sh $@ $(PACKAGES)

# The project's own is left out: machines have the checkout.
$(WHEELS)/.made: pyproject.toml $(VENV)/.setup
	@mkdir -p $(WHEELS)
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		> $(WHEELS)/build.txt
	@$(BIN)/pip wheel --quiet --disable-pip-version-check --wheel-dir $(WHEELS) . -r $(WHEELS)/build.txt
	@rm -f $(WHEELS)/cipu_xdp-*.whl
	@touch $@

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
