# GNU make 3.81 is enough. ARGS goes to the command: make up ARGS="--auto-ports", make test ARGS="-k clean".

BIN := .venv/bin
ARGS ?=

.PHONY: help install up down test test-long test-deep fuzz check faults faults-list security-test compose-test chart-test observability-test bench bench-quick clean lock chart-schema chart-docs sbom images
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1	/p' Makefile | while IFS='	' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

install: .venv/installed ## the environment in .venv, with what up and test need

.venv/installed: requirements.lock pyproject.toml scripts/install.sh
	@sh scripts/install.sh

up: install ## start the local stack in the background: broker, Kafka, registry, object store, services
	@$(BIN)/headrace up --detach $(ARGS)

down: ## stop the local stack; its data stays
	@if [ -x $(BIN)/headrace ]; then $(BIN)/headrace down $(ARGS); else echo "nothing is installed, so nothing runs"; fi

test: install ## unit tests, then integration tests on a stack of their own
	@$(BIN)/python -u -m tests.lanes $(ARGS)

test-long: install ## the integration tests that take long, which `make test` leaves out: up to an hour
	@$(BIN)/python -u -m tests.lanes -m long $(ARGS)

test-deep: install ## the property and protocol tests with 200 times as many examples: an hour or two
	@$(BIN)/pytest tests/unit -m hypothesis --hypothesis-profile=deep $(ARGS)

bench: install ## speed against Telegraf, Quix Streams and Iceberg's sink, into docs/benchmarks.md: about two hours; ARGS="--rounds 3"
	@$(BIN)/python -m bench.peers.install
	@$(BIN)/python -m bench.run $(ARGS)

bench-quick: install ## the ratios alone, once the peers are installed: under five minutes
	@$(BIN)/python -m bench.run --quick $(ARGS)

fuzz: install ## 10,000 mutated payloads for each decoder, half an hour at most; SEED=n again, COUNT=n for more or fewer
	@$(BIN)/python -u -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT)) $(ARGS)

check: install ## lint, format, types, import rules, file sizes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@sh scripts/file_sizes.sh

faults: install ## break a stack in every way and audit what is left: hours; FAULT=name SEED=n for one, MINUTES=n to end
	@$(BIN)/python -u -m tests.faults --fault "$(FAULT)" --seed "$(or $(SEED),0)" --minutes "$(or $(MINUTES),1440)"; \
		status=$$?; $(BIN)/python -m tests.faults --table; exit $$status

faults-list: install ## the names of the faults
	@$(BIN)/python -m tests.faults --list

images: ## the Docker images headrace/bridge, headrace/processors, headrace/hub and headrace/tools
	@sh scripts/images.sh $(ARGS)

sbom: install ## bills of materials of the images in dist/sbom/ (CycloneDX), and THIRD_PARTY.md
	@sh scripts/sbom.sh

clean: ## remove .venv, caches and builds; the stack's data and the downloads stay
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: install ## renew every pin: Python packages (needs uv), Kafka and the registry (needs Maven)
	uv lock --upgrade
	uv export --frozen --all-extras --group dev --no-emit-project -o requirements.lock
	uv export --frozen --extra bridge --no-dev --no-emit-project -o requirements/bridge.lock
	uv export --frozen --extra processors --extra files --no-dev --no-emit-project -o requirements/processors.lock
	uv export --frozen --extra hub --no-dev --no-emit-project -o requirements/hub.lock
	uv export --frozen --extra tools --extra files --extra query --extra azure --no-dev --no-emit-project -o requirements/tools.lock
	uv export --frozen --only-group image --no-emit-project -o requirements/build.lock
	$(BIN)/python -m headrace.stack.relock

security-test: install ## what ETSI EN 303 645, IEC 62443-4-2 and the Cyber Resilience Act ask, by clause: a few minutes
	@$(BIN)/python -m tests.security $(ARGS)

compose-test: install ## docker-compose.yml with the real images, or where none can be pulled with stand-ins made here
	@$(BIN)/pytest tests/compose $(ARGS)

chart-test: install ## the chart with Helm 3 and 4, kubeconform, and a Kubernetes API server, all built first with Go 1.26
	@$(BIN)/python -m tests.chart.tools > /dev/null
	@$(BIN)/pytest tests/chart $(ARGS)

observability-test: install ## alert rules with promtool; then a real stack and Prometheus: every query, and alerts that must fire
	@$(BIN)/pytest tests/observability $(ARGS)

chart-schema: install ## the chart's values.schema.json, from the configuration's models and values.yaml
	@$(BIN)/python -m headrace.config.chartschema

chart-docs: ## the chart's README.md, from values.yaml (needs helm-docs 1.14)
	helm-docs --chart-search-root helm --log-level warning
