# Two commands: `make run_tests` runs the selftests (TAP on stdout), `make check` runs everything a change has to pass.
# Both install what is missing first; what installing says goes to stderr.
#
# As in the kernel's tools/testing/selftests: all run_tests install gen_tar clean emit_tests, with TARGETS, SKIP_TARGETS,
# FORCE_TARGETS, INSTALL_PATH or KSFT_INSTALL_PATH, O or KBUILD_OUTPUT, FORMAT, summary=1, quicktest=1; and their
# kselftest-* names of the kernel's root. RUNTIME=1 installs this Node too.

SHELL := /bin/sh
MODULES := node_modules/.package-lock.json

# The Node on PATH when it can run the sources as they stand, else the pinned one that `npm ci` brings.
NEW_ENOUGH := $(shell node -e 'const [a, b] = process.versions.node.split("."); process.stdout.write(a > 22 || (a == 22 && b >= 18) ? "yes" : "")' 2>/dev/null)
ifeq ($(NEW_ENOUGH),yes)
NODE := node
else
NODE := node_modules/.bin/node
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
endif

# What `make run_tests` hands to the runner: make run_tests TESTS='selftests/tdx_vm_test.ts -t verify_td_lifecycle'
TESTS ?=

# Collections to take, and to leave out; all there are, unless named.
TARGETS ?=
SKIP_TARGETS ?=

# Where what is made goes: the tree installed, the records of runs.
ifeq ("$(origin O)", "command line")
KBUILD_OUTPUT := $(O)
endif
ifneq ($(KBUILD_OUTPUT),)
BUILD := $(abspath $(KBUILD_OUTPUT))/kselftest
export SEAMLESS_STATE := $(BUILD)/.seamless
else
BUILD := $(CURDIR)
endif
ifneq ($(INSTALL_PATH),)
KSFT_INSTALL_PATH ?= $(INSTALL_PATH)
endif
KSFT_INSTALL_PATH ?= $(BUILD)/kselftest_install
override INSTALL_PATH := $(abspath $(KSFT_INSTALL_PATH))
FORMAT ?= .gz
TAR_PATH = $(INSTALL_PATH)/kselftest-packages/kselftest.tar$(FORMAT)

TAKEN = $(filter-out $(SKIP_TARGETS),$(TARGETS))
INSTALL = $(NODE) --disable-warning=ExperimentalWarning runner/install.ts \
	$(foreach t,$(TARGETS),--target $(t)) $(foreach t,$(SKIP_TARGETS),--skip $(t)) $(if $(FORCE_TARGETS),--force)

# One expression for the runner: what is skipped, and with quicktest what is slow.
LEFT_OUT = $(foreach t,$(SKIP_TARGETS),- suite($(t))) $(if $(filter 1,$(quicktest)),- tag(slow))
CHOSEN = $(foreach t,$(TAKEN),-c $(t)) $(if $(strip $(LEFT_OUT)),-E 'all() $(strip $(LEFT_OUT))')

.PHONY: all image run_tests install gen_tar emit_tests kselftest kselftest-merge gen_mods_dir clean_mods_dir headers hotplug \
	run_hotplug clean_hotplug run_pstore_crash check format lint types unit vectors oracle fuzz bench bench-kernels coverage-abi fuzz-tdx fuzz-kvm not-modelled reference listings versus clean

all: image

# What workers begin with, so that they need not load the sources: runner/image.ts.
image: $(MODULES)
	@$(NODE) runner/image.main.ts

# With summary=1 the output of each test goes to a file in /tmp, as upstream has it.
run_tests: $(if $(summary),install,$(MODULES))
	@$(if $(summary),$(INSTALL_PATH)/run_kselftest.sh -p $(TESTS),$(NODE) runner/seamless.js run $(CHOSEN) $(TESTS))

install: $(MODULES)
	@$(INSTALL) $(if $(RUNTIME),--node) --to $(INSTALL_PATH)

gen_tar: install
	@mkdir -p $(dir $(TAR_PATH))
	@tar caf $(TAR_PATH) --exclude=kselftest-packages -C $(INSTALL_PATH) .
	@echo "Created $(TAR_PATH)" 1>&2

emit_tests: $(MODULES)
	@$(INSTALL) --emit

kselftest: run_tests

kselftest-%: % ;

# Names that a kernel's Makefile has too: nothing of ours wants a configuration, kernel modules, headers, or a machine that
# may lose a processor.
kselftest-merge gen_mods_dir clean_mods_dir headers hotplug run_hotplug clean_hotplug run_pstore_crash:
	@echo "$@: nothing to do: the selftests bring their own machine" 1>&2

check: lint types unit
	@$(MAKE) --no-print-directory run_tests

lint: $(MODULES)
	@node_modules/.bin/biome check --error-on-warnings 1>&2

format: $(MODULES)
	@node_modules/.bin/biome check --write

types: $(MODULES)
	@$(NODE) node_modules/typescript/bin/tsc -p .

unit: $(MODULES)
	@$(NODE) node_modules/tap/dist/esm/run.mjs $$([ -t 1 ] || echo --reporter=min)

vectors: $(MODULES)
	@$(NODE) lib/x86/vectors.main.ts --strict $(VECTORS)

# Random programs against this machine's processor: make oracle N=10000 SEED=1
oracle: $(MODULES)
	@$(NODE) lib/x86/oracle/oracle.main.ts --n $(or $(N),10000) --seed $(or $(SEED),1)

# Programs of the system's kind against virtual machines of this machine's KVM; what differs, and why.
oracle-system: $(MODULES)
	@$(NODE) lib/x86/oracle/system/system.main.ts

# Random bytes in every mode, decoded by us and by iced-x86: make oracle-decoder N=10000000 SEED=1
oracle-decoder: $(MODULES)
	@$(NODE) lib/x86/oracle/decoder.main.ts --n $(or $(N),100000) --seed $(or $(SEED),1)

# Random bytes as code, in every mode: make fuzz N=1000000 SEED=1 TIER=auto; with LOOPS=1 images of them in a loop that gets
# hot, with AGAINST=interpret in two tiers that must agree.
fuzz: $(MODULES)
	@$(NODE) lib/x86/oracle/fuzz.main.ts $(if $(LOOPS),--loops) $(if $(N),--n $(N)) --seed $(or $(SEED),1) --tier $(or $(TIER),auto) $(if $(AGAINST),--against $(AGAINST))

bench: image
	@$(NODE) lib/bench/bench.ts $(if $(WRITE),--write)

# One round of some compute kernels, or of all: make bench-kernels KERNEL="fib qsort"
bench-kernels: $(MODULES)
	@$(NODE) lib/bench/kernels.main.ts $(KERNEL)

schema: $(MODULES)
	@$(NODE) reports/testdata/schema.ts

# Which answers of the ABI have code and are met by a test: docs/coverage-abi.md.
coverage-abi: $(MODULES)
	@$(NODE) lib/coverage-abi.ts

# A million random SEAMCALLs and TDCALLs: make fuzz-tdx N=1000000 SEED=1
fuzz-tdx: $(MODULES)
	@$(NODE) lib/tdx/fuzz.main.ts $(N) $(SEED)

# A million random ioctls: make fuzz-kvm N=1000000 SEED=1
fuzz-kvm: $(MODULES)
	@$(NODE) lib/kvm/fuzz.main.ts $(N) $(SEED)

not-modelled: $(MODULES)
	@$(NODE) lib/not-modelled.ts

reference: $(MODULES)
	@$(NODE) lib/reference.ts

listings: $(MODULES)
	@$(NODE) lib/listings.ts

versus: $(MODULES)
	@$(NODE) lib/versus.ts

$(MODULES): package-lock.json
	@npm ci --no-audit --no-fund --loglevel=error 1>&2
	@$(NODE) node_modules/tap/dist/esm/run.mjs build 1>&2
	@touch $@

clean:
	rm -rf node_modules .seamless .tap kselftest_install $(if $(KBUILD_OUTPUT),$(BUILD))
