# `make` lists the targets. As root on Debian, the targets install missing tools (Docker, a compiler, …). Elsewhere
# they name the missing tools and stop.

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LANGUAGES ?= python javascript bash go
CHOSEN     = $(if $(filter all,$(LANGUAGES)),$(filter-out base boomerang,$(notdir $(patsubst %/Dockerfile,%,$(wildcard images/*/Dockerfile)))),$(LANGUAGES))

GOLANGCI_LINT := v2.15.0
DEADCODE      := v0.52.0

export PATH := $(PATH):/usr/local/go/bin

NEED    := @.ci/need
LINT     = bin/tools/golangci-lint-$(GOLANGCI_LINT)
DEAD     = bin/tools/deadcode-$(DEADCODE)
TAGS    := integration e2e
ALL_TAGS = $(TAGS) chaos walls languages bench
DOCKER_TESTS = $(addprefix ./,$(sort $(dir $(shell grep -rlE '^//go:build .*(integration|e2e)' --include='*_test.go' cmd internal))))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: LANGUAGES = python
demo: images build ## run a program on a temporary server and receive its signed callback
	$(NEED) curl
	@.ci/demo

.PHONY: up
up: images build ## start the server in Docker on 127.0.0.1:8080
	$(NEED) compose curl
	@.ci/compose up

.PHONY: token
token: ## print a token for the server that `make up` started
	@.ci/compose token

.PHONY: down
down: ## stop the server of `make up`; its data stays
	@.ci/compose down

.PHONY: build
build: ## compile the programs into bin/: boomerang, the containers' init, the doctor's probe
	$(NEED) go
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/boomerang ./cmd/boomerang
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -ldflags '-s -w' -o bin/boomerang-init-linux-amd64 ./cmd/boomerang-init
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -ldflags '-s -w' -o bin/boomerang-init-linux-arm64 ./cmd/boomerang-init
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -ldflags '-s -w' -o bin/boomerang-probe-linux-amd64 ./cmd/boomerang-probe
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -ldflags '-s -w' -o bin/boomerang-probe-linux-arm64 ./cmd/boomerang-probe

.PHONY: images
images: ## build outdated language images; LANGUAGES="java rust" or all; FRESH=1 updates packages
	$(NEED) docker
	@images/build.sh $(CHOSEN)

# The programs, the tests without the race detector and make lint share compiled packages. make lint also vets all
# tests.
PLAIN    = CGO_ENABLED=0 GOFLAGS="$$GOFLAGS -trimpath"
ENGINE   = $(PLAIN) LANGUAGES="$(CHOSEN)" REQUIRE_DOCKER=1 go test -vet=off -count=1
IMAGELESS = $(filter ./cmd/boomerang-init/ ./internal/app/ ./internal/store/,$(DOCKER_TESTS))
PARTS   := units packages docker scenarios crashes chaos

.PHONY: test
test: ## run all tests, in parallel: units with the race detector, and tests with Docker
	$(NEED) docker gcc go ip iptables node php python3 ruby strace
	@$(MAKE) --no-print-directory --jobs=$(words $(PARTS)) --keep-going --output-sync=target $(PARTS:%=test-%)

# The units start after the compilation of the program, because earlier they would delay the parts that wait for the
# program. Two tests of the store need much CPU time and no race detector; test-packages runs them.
.PHONY: test-units
test-units: build
	go test -vet=off -race -timeout 10m -skip 'TenThousandSubjects|EveryStatementWalksAlongAnIndex' ./...

.PHONY: test-packages
test-packages: build
	$(ENGINE) -p 1 -timeout 10m -tags integration $(IMAGELESS)

# These packages run one after another, because two of them have a test that changes the firewall rules.
.PHONY: test-docker
test-docker: images build
	$(ENGINE) -p 1 -timeout 10m -tags integration $(filter-out ./internal/e2e/ $(IMAGELESS),$(DOCKER_TESTS))

.PHONY: test-scenarios
test-scenarios: images build
	$(ENGINE) -parallel 4 -timeout 15m -tags e2e ./internal/e2e

# Each of the next two parts starts a Docker engine of its own.
.PHONY: test-crashes
test-crashes: images build
	$(ENGINE) -timeout 10m -tags chaos -run Dies ./internal/chaos

.PHONY: test-chaos
test-chaos: images build
	ROUNDS=1 SEED=14 EXECUTIONS=15 $(ENGINE) -timeout 10m -tags chaos -run InChaos ./internal/chaos

.PHONY: languages
languages: LANGUAGES = all
languages: images ## build and test the images of all languages; LANGUAGES="java rust" for some
	$(NEED) docker
	LANGUAGES="$(CHOSEN)" REQUIRE_DOCKER=1 go test -count=1 -v -timeout 60m -tags 'e2e languages' -run Language ./internal/e2e

.PHONY: unit
unit: ## run the tests without Docker
	$(NEED) go
	go test ./...

.PHONY: bench
bench: LANGUAGES = python bash
bench: images build ## measure the promised speed, 15 min; QUICK=1, ROWS=A,C, ROUNDS=40; DOC=1 updates docs/PERFORMANCE-TABLE.md
	$(NEED) docker python3 strace
	go test -c -tags bench -o bin/bench.test ./internal/bench
	@cd internal/bench && ../../bin/bench.test
	$(if $(ROWS)$(QUICK),,DEPTH_CSV=$(CURDIR)/bin/bench/depth.csv go test -run '^$$' -bench Depth -benchtime 100x ./internal/store)

.PHONY: bench-rooms
bench-rooms: images build ## run the benchmarks of single packages, with Docker
	$(NEED) docker python3
	REQUIRE_DOCKER=1 go test -run '^$$' -bench . -benchmem -p 1 -timeout 60m -tags '$(TAGS)' ./...

.PHONY: chaos
chaos: LANGUAGES = bash
chaos: images ## break parts of the system, then audit the result; as root; ROUNDS=30 EXECUTIONS=40 SEED=…
	$(NEED) docker
	ROUNDS=$(or $(ROUNDS),30) SEED=$(SEED) EXECUTIONS=$(or $(EXECUTIONS),40) REQUIRE_DOCKER=1 \
		go test -count=1 -v -timeout 0 -tags chaos -run Chaos ./internal/chaos

.PHONY: soak
soak: LANGUAGES = bash
soak: images ## keep all slots busy and report the server's resource usage; as root; MINUTES=60
	$(NEED) docker
	MINUTES=$(or $(MINUTES),60) REQUIRE_DOCKER=1 go test -count=1 -v -timeout 0 -tags chaos -run 'Flat|Printer' ./internal/chaos

OTHER_ENGINE = REQUIRE_DOCKER=1 go test -count=1 -p 1 -timeout 30m -tags integration

.PHONY: walls
walls: LANGUAGES = python javascript bash go
walls: images build ## run the isolation checks with gVisor, remapped users, Java and torch; as root, 10 minutes
	$(NEED) docker runsc
	CALLBACK_ATTACK=0,255,765,2000,10000 go test -count=1 -v -run HostileDestinations ./internal/app
	docker build --quiet --tag boomerang-test-runtimes internal/sandbox/docker/testdata/runtimes
	REQUIRE_DOCKER=1 go test -count=1 -tags 'integration walls' -run LargeRuntimes ./internal/sandbox/docker
	RUNTIME=runsc IMAGES='$(LANGUAGES:%=boomerang/%)' .ci/engine '' sh -c "$(OTHER_ENGINE) ./internal/sandbox/docker && \
		DOCTOR=whole $(OTHER_ENGINE) -run TheWallsHold ./internal/doctor"
	IMAGES='$(LANGUAGES:%=boomerang/%)' .ci/engine --userns-remap=default sh -c "$(OTHER_ENGINE) ./internal/sandbox/docker && \
		$(OTHER_ENGINE) -run TheWallsHold ./internal/doctor"

.PHONY: lint
lint: $(LINT) $(DEAD) ## run golangci-lint, vet and the check for dead code; check go.mod
	$(PLAIN) go vet -tags '$(ALL_TAGS)' ./...
	$(PLAIN) $(LINT) run --allow-parallel-runners
	go mod tidy -diff
	@dead=$$($(PLAIN) $(DEAD) -test -tags '$(ALL_TAGS)' ./...) && [ -z "$$dead" ] || { echo "$$dead"; exit 1; }

$(LINT):
	$(NEED) go
	GOBIN=$(CURDIR)/bin/tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT)
	mv bin/tools/golangci-lint $@

$(DEAD):
	$(NEED) go
	GOBIN=$(CURDIR)/bin/tools go install golang.org/x/tools/cmd/deadcode@$(DEADCODE)
	mv bin/tools/deadcode $@

.PHONY: setup
setup: ## install or name all missing tools
	$(NEED) docker compose curl gcc go ip iptables node php python3 ruby strace

.PHONY: clean
clean: ## remove everything that make created: bin/, the images, the server and its data
	@.ci/compose clean
	rm -rf bin
