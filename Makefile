# `make` lists what there is. What is missing on the machine (Docker, a compiler, …) is installed where that can be done:
# as root on Debian. Elsewhere you are told.

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
help: ## list what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: LANGUAGES = python
demo: images build ## the main job, once, for real: run a program, receive its signed callback
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
down: ## stop it; what it stored stays
	@.ci/compose down

.PHONY: build
build: ## compile the program, the init of the containers and the doctor's probe into bin/
	$(NEED) go
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/boomerang ./cmd/boomerang
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -ldflags '-s -w' -o bin/boomerang-init-linux-amd64 ./cmd/boomerang-init
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -ldflags '-s -w' -o bin/boomerang-init-linux-arm64 ./cmd/boomerang-init
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -ldflags '-s -w' -o bin/boomerang-probe-linux-amd64 ./cmd/boomerang-probe
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -ldflags '-s -w' -o bin/boomerang-probe-linux-arm64 ./cmd/boomerang-probe

.PHONY: images
images: ## build the images of the languages, where they are not up to date; LANGUAGES="java rust" or all, FRESH=1 for today's packages
	$(NEED) docker
	@images/build.sh $(CHOSEN)

# The programs, the tests without the race detector and make lint share what is compiled. make lint also vets all tests.
PLAIN    = CGO_ENABLED=0 GOFLAGS="$$GOFLAGS -trimpath"
ENGINE   = $(PLAIN) LANGUAGES="$(CHOSEN)" REQUIRE_DOCKER=1 go test -vet=off -count=1
IMAGELESS = $(filter ./cmd/boomerang-init/ ./internal/app/ ./internal/store/,$(DOCKER_TESTS))
PARTS   := units packages docker scenarios crashes chaos

.PHONY: test
test: ## all tests: the units under the race detector, and those with Docker; side by side, each part is printed when it ends
	$(NEED) docker gcc go ip iptables node php python3 ruby strace
	@$(MAKE) --no-print-directory --jobs=$(words $(PARTS)) --keep-going --output-sync=target $(PARTS:%=test-%)

# The units begin when the program is compiled: earlier they would only delay what waits for it. Two tests of the store use a
# processor for long and start nothing that could race; test-packages runs them, without the race detector.
.PHONY: test-units
test-units: build
	go test -vet=off -race -timeout 10m -skip 'TenThousandSubjects|EveryStatementWalksAlongAnIndex' ./...

.PHONY: test-packages
test-packages: build
	$(ENGINE) -p 1 -timeout 10m -tags integration $(IMAGELESS)

# These packages run one after another: both have a test that changes the rules of the firewall.
.PHONY: test-docker
test-docker: images build
	$(ENGINE) -p 1 -timeout 10m -tags integration $(filter-out ./internal/e2e/ $(IMAGELESS),$(DOCKER_TESTS))

.PHONY: test-scenarios
test-scenarios: images build
	$(ENGINE) -parallel 4 -timeout 15m -tags e2e ./internal/e2e

# The next two parts each start an engine of their own.
.PHONY: test-crashes
test-crashes: images build
	$(ENGINE) -timeout 10m -tags chaos -run Dies ./internal/chaos

.PHONY: test-chaos
test-chaos: images build
	ROUNDS=1 SEED=14 EXECUTIONS=15 $(ENGINE) -timeout 10m -tags chaos -run InChaos ./internal/chaos

.PHONY: languages
languages: LANGUAGES = all
languages: images ## build all languages' images and run the trials of each; LANGUAGES="java rust" for some
	$(NEED) docker
	LANGUAGES="$(CHOSEN)" REQUIRE_DOCKER=1 go test -count=1 -v -timeout 60m -tags 'e2e languages' -run Language ./internal/e2e

.PHONY: unit
unit: ## the tests that need no Docker
	$(NEED) go
	go test ./...

.PHONY: bench
bench: LANGUAGES = python bash
bench: images build ## measure what is promised of speed, in one table; a quarter of an hour. QUICK=1, ROWS=A,C, ROUNDS=40; DOC=1 writes it into docs/PERFORMANCE-TABLE.md
	$(NEED) docker python3 strace
	go test -c -tags bench -o bin/bench.test ./internal/bench
	@cd internal/bench && ../../bin/bench.test
	$(if $(ROWS)$(QUICK),,DEPTH_CSV=$(CURDIR)/bin/bench/depth.csv go test -run '^$$' -bench Depth -benchtime 100x ./internal/store)

.PHONY: bench-rooms
bench-rooms: images build ## the benchmarks of single rooms, with Docker
	$(NEED) docker python3
	REQUIRE_DOCKER=1 go test -run '^$$' -bench . -benchmem -p 1 -timeout 60m -tags '$(TAGS)' ./...

.PHONY: chaos
chaos: LANGUAGES = bash
chaos: images ## kill, stop, fill and cut off whatever there is while programs run, and audit what is left; as root. ROUNDS=30 EXECUTIONS=40 SEED=…
	$(NEED) docker
	ROUNDS=$(or $(ROUNDS),30) SEED=$(SEED) EXECUTIONS=$(or $(EXECUTIONS),40) REQUIRE_DOCKER=1 \
		go test -count=1 -v -timeout 0 -tags chaos -run Chaos ./internal/chaos

.PHONY: soak
soak: LANGUAGES = bash
soak: images ## keep all slots busy and report what the server holds; as root. MINUTES=60
	$(NEED) docker
	MINUTES=$(or $(MINUTES),60) REQUIRE_DOCKER=1 go test -count=1 -v -timeout 0 -tags chaos -run 'Flat|Printer' ./internal/chaos

OTHER_ENGINE = REQUIRE_DOCKER=1 go test -count=1 -p 1 -timeout 30m -tags integration

.PHONY: walls
walls: LANGUAGES = python javascript bash go
walls: images build ## the walls elsewhere: gVisor, an engine that remaps users, Java and torch; as root, some ten minutes
	$(NEED) docker runsc
	docker build --quiet --tag boomerang-test-runtimes internal/sandbox/docker/testdata/runtimes
	REQUIRE_DOCKER=1 go test -count=1 -tags 'integration walls' -run LargeRuntimes ./internal/sandbox/docker
	RUNTIME=runsc IMAGES='$(LANGUAGES:%=boomerang/%)' .ci/engine '' sh -c "$(OTHER_ENGINE) ./internal/sandbox/docker && \
		DOCTOR=whole $(OTHER_ENGINE) -run TheWallsHold ./internal/doctor"
	IMAGES='$(LANGUAGES:%=boomerang/%)' .ci/engine --userns-remap=default sh -c "$(OTHER_ENGINE) ./internal/sandbox/docker && \
		$(OTHER_ENGINE) -run TheWallsHold ./internal/doctor"

.PHONY: lint
lint: $(LINT) $(DEAD) ## golangci-lint, vet, dead code, a tidy go.mod
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
setup: ## check for all the tools that any of this needs
	$(NEED) docker compose curl gcc go ip iptables node php python3 ruby strace

.PHONY: clean
clean: ## remove all that make made: bin/, the images, the server and what it stored
	@.ci/compose clean
	rm -rf bin
