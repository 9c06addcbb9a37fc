# SPDX-License-Identifier: GPL-2.0-only
#
# Builds and installs ib_iser.ko, and runs the demo and the tests of it.
# `make help` lists what there is. Building is the kernel's own business
# (see Kbuild); guests and tests are tools/lab's.

KDIR ?= /lib/modules/$(shell uname -r)/build
PYTHON := /usr/bin/python3 -s
LAB := tools/lab/lab
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ib_iser-lab
PYTEST := $(PYTHON) -m pytest -o cache_dir=$(CACHE)/pytest

# Byte code stays out of the checkout too.
export PYTHONPYCACHEPREFIX := $(CACHE)/pycache

# The same variable as most packaging uses for where to install.
INSTALL_MOD_PATH ?= $(DESTDIR)
UPDATES := drivers/infiniband/ulp/iser
KBUILD = $(MAKE) -C $(KDIR) M=$(CURDIR) CONFIG_INFINIBAND_ISER=m
# Debian's headers know their release here, their makefiles do not.
RELEASE = $(shell sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' $(KDIR)/include/generated/utsrelease.h)
# Only who built the kernel has its key; others sign by themselves, or not.
NO_KEY = $(if $(wildcard $(KDIR)/certs/signing_key.pem),,CONFIG_MODULE_SIG_ALL=)
INSTALLED = $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE)

.PHONY: all modules install uninstall clean headers depmod
.PHONY: deps demo check check-all lint kunit fuzz fuzz-wire attack bench coverage
.PHONY: bench-guarantees bench-ideas bench-wall bench-layout bench-record shell help

all: modules

modules: headers
	+$(KBUILD) modules

# updates/ comes before the kernel's own module in depmod's search order.
install: modules
	+$(KBUILD) INSTALL_MOD_PATH=$(INSTALL_MOD_PATH) INSTALL_MOD_DIR=updates $(NO_KEY) \
		modules_install
	+$(MAKE) --no-print-directory depmod

uninstall: headers
	rm -f $(INSTALLED)/updates/$(UPDATES)/ib_iser.ko*
	-cd $(INSTALLED) && rmdir -p --ignore-fail-on-non-empty updates/$(UPDATES)
	+$(MAKE) --no-print-directory depmod

# Nothing to index where a package is being staged.
depmod:
	if [ -e "$(INSTALLED)/modules.order" ]; then \
		PATH=$$PATH:/usr/sbin:/sbin depmod $(addprefix -b ,$(INSTALL_MOD_PATH)) $(RELEASE); \
	fi

headers:
	@test -e $(KDIR)/Makefile || { \
		echo "No kernel to build against in $(KDIR)."; \
		echo "Install its headers (Debian: apt install linux-headers-$$(uname -r))"; \
		echo "or name another tree: make KDIR=/lib/modules/RELEASE/build"; \
		exit 1; } >&2

clean: headers
	+$(KBUILD) clean

deps:
	@tools/lab/deps

demo: deps
	@$(LAB) demo

# Kernels first: a test that waits for one to be built would run out of time.
check: lint
	@$(LAB) kernel debug
	@$(PYTEST) -q -n2 --dist loadfile tests/lab
	@$(PYTEST) tests/vm

# Without the source of mainline its tests fail and say so. As it takes hours, one
# failure does not keep the rest from being run.
check-all: lint
	@$(LAB) kernel debug
	-@$(LAB) kernel mainline
	@failed=; \
	$(PYTEST) -q -n2 --dist loadfile tests/lab || failed=1; \
	$(PYTEST) tests/vm --all || failed=1; \
	$(MAKE) --no-print-directory fuzz SEED=1 COUNT=100000 || failed=1; \
	[ -z "$$failed" ]

lint: deps
	@$(LAB) lint

kunit: deps
	@$(LAB) kunit

bench: deps
	@$(PYTHON) tests/bench/bench.py $(BENCH)

bench-guarantees: deps
	@$(PYTHON) tests/bench/bench.py --of guarantees $(BENCH)

bench-ideas: deps
	@$(PYTHON) tests/bench/bench.py --of ideas $(BENCH)

bench-wall: deps
	@$(PYTHON) tests/bench/wall.py $(BENCH)

bench-layout: deps
	@$(PYTHON) tests/bench/layout.py

bench-record: deps
	@$(PYTHON) tests/bench/guard.py

coverage: deps
	@$(LAB) coverage

fuzz: deps
	@$(PYTEST) tests/vm/test_fuzz.py -n0 -s --kernel $(or $(KERNEL),debug) \
		--seed=$(or $(SEED),0) $(addprefix --seconds=,$(SECONDS)) \
		$(addprefix --count=,$(COUNT))

fuzz-wire: deps
	@$(LAB) fuzz-wire $(addprefix --runs=,$(RUNS)) $(addprefix --seed=,$(SEED)) $(INPUT)

attack: deps
	@$(LAB) attack $(KERNEL)

shell: deps
	@$(LAB) shell $(KERNEL)

help:
	@echo "make               build ib_iser.ko (KDIR=... names the kernel tree)"
	@echo "make install       install it where it wins over the kernel's own"
	@echo "make uninstall     take it away again"
	@echo "make deps          install the packages that all of these need"
	@echo "make demo          show a session in a guest, from discovery to fio (KERNEL=6.1)"
	@echo "make check         lint and tests, on stock 6.1 and 6.12 and on a debug kernel"
	@echo "make check-all     all tests on all kernels, mainline too; takes long"
	@echo "make lint          compiler warnings, sparse, checkpatch, and others"
	@echo "make kunit         the unit tests, on a kernel with KASAN and lockdep"
	@echo "make coverage      tests on the kernel with all checks; lines that none executes"
	@echo "make fuzz          a mad target (SECONDS=30 COUNT=mutated PDUs SEED= KERNEL=debug)"
	@echo "make fuzz-wire     random input for the parsers (RUNS=200000 SEED=1 INPUT=file)"
	@echo "make attack        a hostile target, on our module and the kernel's own (KERNEL=6.12)"
	@echo "make bench         what an I/O costs, and with its peers (BENCH=options, e.g. --help)"
	@echo "make bench-guarantees   what it would without one or the other guarantee"
	@echo "make bench-ideas   what it would without one or the other idea to make it cheap"
	@echo "make bench-wall    by the host's clock (noisy), with more sessions and processors"
	@echo "make bench-layout  which cache lines an I/O touches of the module's structures"
	@echo "make bench-record  records what make check takes for the right cost of an I/O"
	@echo "make shell         a root shell in a guest with a target (KERNEL=6.12)"
	@echo "make clean         remove what building here left behind"
	@echo "tools/lab/lab      the lab itself: kernels, root filesystem, cache"
