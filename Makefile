# `make demo` shows the whole job, `make test` runs every check; both set everything up first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check lint types schemas reference docs unit bench clients servers lock clean

demo: $(READY)
	@$(BIN)/python -m tests.demo

test: lint types unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/pytest -n auto

schemas: $(READY)
	$(BIN)/reconciler schema --all schemas

# The pages of docs/reference/ that are made from code.
reference: $(READY)
	$(BIN)/python -m tests.docs.generate

# The pages of docs/, into .site/.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet -f .mkdocs.yml

bench: $(READY)
	$(BIN)/python -m tests.bench.run

# The official clients, each with a lock of its own, for tests/realclients alone.
clients: .clients/python/.ready .clients/node/.ready

.clients/python/.ready: tests/realclients/requirements.lock $(READY)
	rm -rf $(@D)
	$(BIN)/pip install -qq --require-hashes --target $(@D) -r $<
	@touch $@

.clients/node/.ready: tests/realclients/node/package-lock.json tests/realclients/node/package.json
	rm -rf $(@D)
	mkdir -p $(@D)
	cp $^ $(@D)
	npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# The servers of the team stores that no Debian package offers, each with a lock of its own, for tests/state alone.
servers: .servers/seaweedfs/.ready .servers/node/.ready

.servers/seaweedfs/.ready: tests/servers/requirements.lock $(READY)
	rm -rf $(@D)
	$(BIN)/pip install -qq --require-hashes --target $(@D) -r $<
	@touch $@

.servers/node/.ready: tests/servers/node/package-lock.json tests/servers/node/package.json
	rm -rf $(@D)
	mkdir -p $(@D)
	cp $^ $(@D)
	npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# The lock holds hashes for every supported Python and platform.
lock:
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade -o requirements.lock
	uv pip compile tests/realclients/requirements.in --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade -o tests/realclients/requirements.lock
	uv pip compile tests/servers/requirements.in --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade -o tests/servers/requirements.lock
	for folder in tests/realclients/node tests/servers/node; do ( cd $$folder && \
		npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved && \
		node -e 'const f = "./package-lock.json", l = require(f); for (const p of Object.values(l.packages)) delete p.funding; fs.writeFileSync(f, JSON.stringify(l, null, 2) + "\n")' \
		) || exit 1; done

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install -qq --require-hashes -r requirements.lock
	$(BIN)/pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV) .clients .servers .site .reconciler manifests/.reconciler
