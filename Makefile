# Two commands: `make run_tests` runs the selftests (TAP on stdout), `make check` runs everything a change has to pass.
# Both install what is missing first; what installing says goes to stderr.

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

.PHONY: all run_tests check format lint types unit vectors bench not-modelled schema clean

all: $(MODULES)

run_tests: $(MODULES)
	@$(NODE) runner/seamless.js run $(TESTS)

check: lint types unit
	@$(MAKE) --no-print-directory run_tests

lint: $(MODULES)
	@node_modules/.bin/biome check --error-on-warnings 1>&2

format: $(MODULES)
	@node_modules/.bin/biome check --write

types: $(MODULES)
	@$(NODE) node_modules/typescript/bin/tsc -p .

unit: $(MODULES)
	@$(NODE) node_modules/tap/dist/esm/run.mjs

vectors: $(MODULES)
	@$(NODE) lib/x86/vectors.main.ts --strict $(VECTORS)

bench: $(MODULES)
	@$(NODE) lib/bench/bench.ts $(if $(WRITE),--write)

schema: $(MODULES)
	@$(NODE) reports/testdata/schema.ts

not-modelled: $(MODULES)
	@$(NODE) lib/not-modelled.ts

$(MODULES): package-lock.json
	@npm ci --no-audit --no-fund --loglevel=error 1>&2
	@$(NODE) node_modules/tap/dist/esm/run.mjs build 1>&2
	@touch $@

clean:
	rm -rf node_modules .seamless .tap
