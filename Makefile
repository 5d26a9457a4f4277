# Everything a developer runs. `make` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The kernel series that the VM lane and the demo boot, and the demo's file
# (default: a package of that kernel).
KERNEL ?= 7.3
FILE ?=

GOLANGCI_VERSION := v2.15.0
golangci := bin/golangci-lint-$(GOLANGCI_VERSION)
# A commit of golang.org/x/exp, which has no releases.
APIDIFF_VERSION := v0.0.0-20261113113407-e3970619a1a4
apidiff := bin/apidiff-$(APIDIFF_VERSION)

# The commit that "make api" compares with. If it is empty, scripts/api chooses one.
API_BASE ?=

# The packages of the modules in go.work; "./..." alone is the root module. The last
# has only tests with the build tag nic.
library := ./...
command := ./cmd/zcrx/...
vm := ./vm/...
users := ./test/conn/... ./examples/...
comparison := ./bench/...
zerocopy := ./test/zerocopy/...

# Flags for a binary that runs in a guest without a C library. netgo and osusergo leave
# out the parts of Go that would use one at run time.
staticlink := -ldflags '-linkmode external -extldflags -static'
static := -tags netgo,osusergo $(staticlink)

# Most tests of this machine's lanes wait for sockets, and an emulated machine mostly keeps
# one core busy, so the two long lanes in such machines run beside the others.
lanes_here := liburing build host asan matrix fuzz
lanes_guests := vm nic

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##### Set-up and build

.PHONY: setup
setup: ## install what this machine lacks, build liburing
	@scripts/setup
	@third_party/liburing/build

.PHONY: liburing
liburing: ## build the pinned liburing (third_party/liburing)
	@third_party/liburing/build

.PHONY: build
build: liburing ## bin/zcrx, bin/zcrx-static and bin/vmrun
	go build -o bin/zcrx ./cmd/zcrx
	go build -o bin/zcrx-static $(static) ./cmd/zcrx
	CGO_ENABLED=0 go build -o bin/vmrun ./vm/vmrun

##### Checks

.PHONY: vet
vet: liburing ## go vet, also without cgo and for another system
	go vet $(library) $(command) $(vm) $(users) $(comparison)
	go vet -tags nic $(zerocopy)
	go vet -tags vmtest $(vm)
	go vet -tags matrix .
	CGO_ENABLED=0 go vet $(library) $(command) $(vm) $(users) $(comparison)
	GOOS=darwin go vet $(library) $(command) $(users)

.PHONY: lint
lint: vet $(golangci) ## vet, gofmt, golangci-lint, the import graph, changes in the API
	@unformatted=$$(gofmt -l -s .); \
	if [ -n "$$unformatted" ]; then echo "gofmt -s would change:"; echo "$$unformatted"; exit 1; fi
	$(golangci) run $(library) $(command) $(vm) $(users) $(comparison)
	$(golangci) run --build-tags nic $(zerocopy)
	@GOLANGCI='$(CURDIR)/$(golangci)' test/depguard_test
	@go run ./tools/graph -q
	@$(MAKE) --no-print-directory test-parity
	@$(MAKE) --no-print-directory api

.PHONY: graph
graph: ## print what each package imports; fails if one imports a higher layer
	@go run ./tools/graph

.PHONY: byte-path
byte-path: build ## the functions that a received byte passes, in a virtual machine
	@go build $(static) -cover -covermode=atomic -coverpkg=$(library) -o bin/bytepath ./tools/bytepath
	@bin/vmrun --quiet --timeout 5m --kernel $(KERNEL) bin/bytepath receive deviceless | go run ./tools/bytepath print

.PHONY: generate
generate: liburing ## write what comes from liburing's headers, and docs/liburing.md
	@go run ./tools/uringgen

.PHONY: test-parity
test-parity: liburing ## fail if what generate writes is stale, or a function of liburing has no place in it
	@go run ./tools/uringgen -check

.PHONY: api
api: ## what this tree changes in the public API since API_BASE (default: the last tag)
	@API_BASE='$(API_BASE)' scripts/api $(apidiff)

# The file's name has the version, so that a new pin installs it anew. It needs no cgo.
$(golangci):
	@mkdir -p bin
	GOBIN='$(CURDIR)/bin' CGO_ENABLED=0 go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv bin/golangci-lint $@

$(apidiff):
	@mkdir -p bin
	GOBIN='$(CURDIR)/bin' CGO_ENABLED=0 go install golang.org/x/exp/cmd/apidiff@$(APIDIFF_VERSION)
	@mv bin/apidiff $@

##### Tests

# How long one test of a lane (limit) and the whole lane (max) may take: about four times
# as long as in "make test" on a quiet machine. After that tools/lane prints where what runs hangs, and
# ends it. LANE_LIMIT= and LANE_MAX= replace both, for longer runs. backstop is the timeout
# of go test and vmrun, in case lane itself fails.
limit = -limit $(or $(LANE_LIMIT),$(1))
max = -max $(or $(LANE_MAX),$(1))
backstop := $(if $(LANE_LIMIT)$(LANE_MAX),24h,18m)

# All lanes run, also after one has failed. bin/lane is built before two lanes need it.
.PHONY: test
test: setup build ## all lanes, then a table of them
	@scripts/lane -reset
	@status=0; \
	$(MAKE) --no-print-directory -k -j2 lanes_here lanes_guests || status=1; \
	echo; scripts/lane -table $(lanes_here) $(lanes_guests) || status=1; \
	exit $$status

.PHONY: lanes_here lanes_guests
lanes_here lanes_guests:
	@status=0; \
	for lane in $($@); do \
		$(MAKE) --no-print-directory test-$$lane 2>&1 | sed -u "s/^/$$lane: /" || status=1; \
	done; \
	exit $$status

.PHONY: test-liburing
test-liburing: liburing ## the script that builds liburing
	@scripts/lane $(call max,4m) -lines liburing -- third_party/liburing/build_test

.PHONY: test-build
test-build: liburing ## how the module builds for its users
	@scripts/lane $(call max,5m) -lines build -- test/build_test

.PHONY: test-host
test-host: liburing ## all tests, with real rings on this machine's kernel
	@ZCRX_H2LOAD=h2load scripts/lane $(call limit,2m) $(call max,20m) -skips scripts/skips host -- \
		go test -json -timeout $(backstop) -race -count=1 $(library) $(command) $(vm) $(users) $(comparison)

.PHONY: test-asan
test-asan: build ## the C side under AddressSanitizer, here and in a virtual machine
	@KERNEL='$(KERNEL)' scripts/lane $(call max,12m) -lines asan -- test/asan_test

# One boot by package vm itself, whose other boots take minutes: go test -tags vmtest ./vm
# runs them.
bootvm := go test -json -count=1 -tags vmtest -timeout $(backstop) -run TestBoot ./vm

# Compiled first, because -p 1, which keeps two virtual machines from running at once,
# would also compile one package at a time. --quiet, because go test takes the console on
# vmrun's standard error for output of the test. The packages that are left out do not
# depend on the kernel, or not more than test/conn does (the examples).
.PHONY: test-vm
test-vm: build ## the same tests on Linux 7.3 (KERNEL=) in a virtual machine
	@module=$$(test/tls_module $(KERNEL)); \
	packages=$$(go list $(library) $(command) ./test/conn | grep -v '/zcrx/tools/\|/zcrx/internal/skip$$\|/zcrx/internal/onloop$$'); \
	go test -run '^$$' -exec true $(static) $$packages >/dev/null; \
	ZCRX_VM_KERNEL='$(KERNEL)' scripts/lane $(call limit,3m) $(call max,24m) -skips scripts/skips vm -- \
		bash -c '$(bootvm) && booted=0 || booted=1; "$$@" && exit $$booted' bash \
		go test -json -short -count=1 -p 1 -timeout $(backstop) \
		-exec "'$(CURDIR)/bin/vmrun' --quiet --timeout $(backstop) --kernel $(KERNEL) --module '$$module' --env ZCRX_LANE" \
		$(static) $$packages

# --tcg-thread single, because with several threads the guest may die when the kernel
# patches its code, as it does for a queue's memory provider. One test needs huge pages,
# which are reserved at the start, while memory is free.
.PHONY: test-nic
test-nic: build ## true zero copy, on the software device in test/nic
	@module=$$(test/nic/build --kernel $(KERNEL)); \
	go test -run '^$$' -exec true -tags nic,netgo,osusergo $(staticlink) $(zerocopy) >/dev/null; \
	scripts/lane $(call limit,3m) $(call max,10m) -skips scripts/skips nic -- \
		go test -json -count=1 -timeout $(backstop) \
		-exec "'$(CURDIR)/bin/vmrun' --quiet --timeout $(backstop) --kernel $(KERNEL) --tcg-thread single \
			--file '$$module:zcnic.ko' --file '$(CURDIR)/bin/zcrx-static:zcrx' --sysctl vm.nr_hugepages=32 --env ZCRX_LANE \
			--env ZCRX_NIC_BYTES --env ZCRX_NIC_HOLDING --env ZCRX_NIC_RELOADS" \
		-tags nic,netgo,osusergo $(staticlink) $(zerocopy)

.PHONY: test-fuzz
test-fuzz: liburing ## a minute of the model test, a minute of fuzzing
	@scripts/lane $(call max,10m) -lines fuzz -- test/fuzz_test

.PHONY: test-cross
test-cross: liburing ## build with cgo for 386 and arm64 (installs their compilers)
	@test/cross_test

# Ten kernels, nine situations each; docs/kernels.md has the results.
.PHONY: matrix-binary
matrix-binary: build
	go test -c -tags matrix,netgo,osusergo -ldflags '-linkmode external -extldflags -static' -o bin/matrix.test .

.PHONY: test-matrix
test-matrix: matrix-binary ## compare every supported kernel with docs/kernels.md
	@scripts/lane $(call max,10m) -lines matrix -- go run ./tools/matrix -check

.PHONY: test-matrix-update
test-matrix-update: matrix-binary ## write docs/kernels.md from a run
	go run ./tools/matrix

.PHONY: load
load: liburing ## h2load against net/http in each mode, half a minute each
	ZCRX_H2LOAD=h2load ZCRX_LOAD=30s go test -count=1 -timeout 15m -v -run UnderLoad ./test/conn

# BENCHFLAGS= adds flags of "bench suite", for instance --note 'A quiet machine.'
BENCHFLAGS ?=

# The report is written also if some runs failed: it says so.
.PHONY: bench
bench: liburing ## compare with other servers, write docs/performance.md (14 minutes)
	go build -o bin/bench ./bench
	@status=0; \
	bin/bench suite --results bin/bench.jsonl --benchstat bin/bench.txt $(BENCHFLAGS) || status=1; \
	bin/bench report bin/bench.jsonl; \
	exit $$status

# Threads of the guest run at the same time here, one for each processor.
.PHONY: bench-nic
bench-nic: build ## how long zero copy keeps the receiving processor busy (software device, emulated)
	@module=$$(test/nic/build --kernel $(KERNEL)); \
	go test -run '^$$' -bench ReceivingProcessor -benchtime 7x -timeout 9m \
		-exec "'$(CURDIR)/bin/vmrun' --quiet --timeout 9m --kernel $(KERNEL) --cpus 3 --file '$$module:zcnic.ko'" \
		-tags nic,netgo,osusergo $(staticlink) $(zerocopy)

# The kernel lets the sockets of a small machine have little memory (net.ipv4.tcp_mem), and
# shrinks all windows when it is short, whoever has it.
bench_unread_guest := --quiet --timeout 8m --kernel $(KERNEL) --sysctl 'net.ipv4.tcp_mem=200000 300000 400000'

.PHONY: bench-unread
bench-unread: build ## connections that are read, beside a thousand that are not (100 and 200 where emulated)
	go test -run '^$$' -bench UnreadPeers -benchtime 3x -timeout 9m ./zcnet
	ZCRX_UNREAD_PEERS=100 go test -run '^$$' -bench UnreadPeers/deviceless -benchtime 3x -timeout 9m \
		-exec "'$(CURDIR)/bin/vmrun' $(bench_unread_guest) --env ZCRX_UNREAD_PEERS" $(static) ./zcnet
	@module=$$(test/nic/build --kernel $(KERNEL)); \
	go test -run '^$$' -bench UnreadConnections -benchtime 1x -timeout 9m \
		-exec "'$(CURDIR)/bin/vmrun' $(bench_unread_guest) --tcg-thread single --file '$$module:zcnic.ko'" \
		-tags nic,netgo,osusergo $(staticlink) $(zerocopy)

.PHONY: microbench
microbench: liburing ## benchmarks of the packages on this machine's kernel
	go test -run '^$$' -bench . -benchmem $(library)

##### The demo

.PHONY: demo
demo: export FILE := $(FILE)
demo: setup build ## a real file (FILE=) through zcrx, here and on Linux 7.3
	@go run ./tools/demo -kernel '$(KERNEL)' -file "$$FILE"

##### Cleaning

.PHONY: clean
clean: ## remove what was built here, except liburing and the linters
	@mkdir -p bin
	find bin -mindepth 1 ! -name 'golangci-lint*' ! -name 'apidiff*' -delete

.PHONY: distclean
distclean: ## also those, and the cached sources, packages and kernels
	rm -rf bin
	third_party/liburing/build --clean
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/zcrx"
