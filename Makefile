# Needs python3 (3.11 or newer), git and make. Everything else is brought into .tools and .venv.
PYTHON ?= python3
UV := .tools/bin/uv
RUN := .venv/bin
# uv does not read pip's setting for a folder of local wheels.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# Compiled modules are worth keeping: the tests start many processes.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(UV) pip install --quiet --python .venv --constraints constraints.txt

RESTART := echo 'Installed. If the service runs, restart it: make up'

.DEFAULT_GOAL := help
.PHONY: help demo up compose deploy up-modal smoke-modal test test-fast chaos soak check fix migrate migration client torch quantize postgres s3 traces avatar faces longcat bench gpu constraints chromium

help: ## List these targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

demo: .venv/.avatar ## Make a video and a presenter who speaks: out/demo.mp4, out/presenter.mp4
	@$(RUN)/python scripts/demo.py

# Extras that were installed before are brought to the versions of this release.
up: .venv/.ok $(wildcard .venv/.torch .venv/.avatar) ## Run the service (API and one worker) on RUSHES_PORT, else 8787
	@$(RUN)/rushes up $(ARGS)

compose: ## Write the secrets of docker-compose.yml into .env, and say what to run
	@$(PYTHON) scripts/compose_env.py

deploy: .venv/.modal ## Deploy to your Modal account: make deploy ARGS="--strategy recreate"
	@$(RUN)/python scripts/deploy_modal.py $(ARGS)

up-modal: .venv/.test ## The whole deployment on this machine, on an emulator of Modal
	@$(RUN)/python -m scripts.up_modal $(ARGS)

smoke-modal: .venv/.ok ## Try a deployed service: make smoke-modal URL=https://… ARGS="--key …"
	@$(RUN)/python scripts/smoke_modal.py $(or $(URL),$(error which service? make smoke-modal URL=https://… ARGS="--key rsh_…")) $(ARGS)

# The slow files come first (tests/conftest.py). xdist would put them last: they have fewer tests.
test: .venv/.test ## Install what the tests need and run all of them
	$(RUN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m 'not gpu'

test-fast: .venv/.test ## The inner loop: starts no service, runs no torch
	$(RUN)/pytest -q -x -n 2 -m 'not slow and not gpu'

chaos: .venv/.test ## The chaos tests at full length: kill -9, power loss, storms
	CHAOS=long $(RUN)/pytest -q -rP --timeout 1800 tests/chaos tests/lifecycle/test_machine.py

soak: .venv/.test ## 15 minutes of steady load: no error, memory and files flat
	$(RUN)/python -m tests.chaos.soak --minutes $${MINUTES:-15}

check: .venv/.test ## Format, lint, types, import contracts
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	@if command -v npm >/dev/null; then npm run --silent check; else echo "no Node: TypeScript is not checked"; fi

fix: .venv/.test ## Format and mend what can be mended
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .
	@if command -v npm >/dev/null; then npm run --silent fix; fi

migrate: .venv/.ok ## Bring the database up to date
	$(RUN)/rushes migrate

migration: .venv/.test migrate ## New migration from the tables: make migration name=add_x
	$(RUN)/alembic revision --autogenerate -m '$(name)' \
	  --rev-id $$(printf '%04d' $$(($$(ls migrations/versions/*.py | wc -l) + 1)))

client: .venv/.test ## Write clients/*.json, TypeScript's types, docs/models.md and .env.example anew
	$(RUN)/python -m tests.contract.write

torch: .venv/.torch ## Install torch and diffusers, for the real models
	@$(RESTART)

quantize: .venv/.torch ## Install what RUSHES_QUANTIZE needs
	@$(INSTALL) -e '.[quantize]'

postgres: .venv/.ok ## Install what a Postgres database needs
	@$(INSTALL) -e '.[postgres]'

s3: .venv/.ok ## Install what videos in a bucket need
	@$(INSTALL) -e '.[s3]'

traces: .venv/.ok ## Install what traces by OpenTelemetry need
	@$(INSTALL) -e '.[traces]'

avatar: .venv/.avatar ## Install what the puppet and its voice need
	@$(RESTART)

faces: .venv/.avatar ## Let three drawn faces speak, and show their frames: out/faces
	@$(RUN)/python -m scripts.show_faces

longcat: .venv/.torch ## Install what LongCat's code needs, which is cloned beside: docs/avatars.md
	@$(INSTALL) -e '.[longcat]'

bench: .venv/.test ## Measure: start, API, queue, events, encoder, avatars, overhead, lists, pages
	$(RUN)/python -m benchmarks.start
	$(RUN)/python -m benchmarks.api
	$(RUN)/python -m benchmarks.queue
	$(RUN)/python -m benchmarks.events
	$(RUN)/python -m benchmarks.encode
	$(RUN)/python -m benchmarks.avatar
	$(RUN)/python -m benchmarks.overhead
	$(RUN)/python -m benchmarks.lists
	$(RUN)/python -m benchmarks.pages
	$(RUN)/python -m benchmarks.viewers

# The tests bring torch's build for a CPU; it is replaced where it finds no GPU.
gpu: .venv/.torch ## On a CUDA GPU: its tests, and how fast the models are, part by part
	@$(INSTALL) -e '.[torch,quantize]' --group test
	@$(RUN)/python -c 'import torch; raise SystemExit(not torch.cuda.is_available())' || \
	  $(INSTALL) --torch-backend=auto --reinstall-package torch torch
	$(RUN)/pytest -q -m gpu tests/gpu
	@for part in ltx-2b ltx-13b wan-fast settings load; do \
	  echo "$$part"; $(RUN)/python -m benchmarks.generation --part $$part || exit 1; done

constraints: $(UV) ## Pin every version anew
	UV_FIND_LINKS= $(UV) pip compile -q --universal --all-extras --group test --group lint --group bench --no-emit-index-url \
	  --no-annotate --no-header pyproject.toml -o constraints.txt

$(UV):
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
	  echo "pip is missing: apt install python3-pip (or put a uv binary at $(UV))" >&2; exit 1; }
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
	  --target .tools uv

.venv/.ok: pyproject.toml constraints.txt | $(UV)
	@echo "Installing what the service needs, once …"
	@$(UV) venv --quiet --allow-existing --python '>=3.11' .venv
	@$(INSTALL) -e '.[fonts]'
	@touch $@

# A wheel in UV_FIND_LINKS wins; else uv asks PyTorch's own index for the build that fits.
.venv/.torch: .venv/.ok
	@echo "Installing torch and what the models need, once: 1.5 GB and more …"
	@if ls $(UV_FIND_LINKS)/torch-*.whl >/dev/null 2>&1; then $(INSTALL) -e '.[torch]'; \
	  else $(INSTALL) --torch-backend=$${TORCH_BACKEND:-auto} -e '.[torch]'; fi
	@touch $@

.venv/.avatar: .venv/.ok
	@echo "Installing what a photo that speaks needs, once …"
	@$(INSTALL) -e '.[avatar]'
	@touch $@

.venv/.modal: .venv/.ok
	@$(INSTALL) -e '.[modal,postgres]'
	@touch $@

.venv/.test: .venv/.ok .tools/client-generator/.ok .tools/syncnet/.ok node_modules/.ok tests/admin/node_modules/.ok | chromium .tools/promtool
	@echo "Installing all that the tests and the emulator of Modal need, once …"
	@TORCH_BACKEND=cpu $(MAKE) --no-print-directory .venv/.torch
	@$(INSTALL) -e '.[torch,quantize,postgres,s3,modal,avatar,traces]' --group test --group lint --group bench
	@touch $@

# Generated clients are tested too; the generator's own needs would clash with ours.
.tools/client-generator/.ok: tests/contract/clients/python.txt | $(UV)
	@$(UV) venv --quiet --allow-existing --python '>=3.11' .tools/client-generator
	@$(UV) pip install --quiet --python .tools/client-generator -r $<
	@touch $@

# So is the network that scores lips, with made-up weights.
.tools/syncnet/.ok: tests/workers/syncnet/python.txt | .venv/.ok
	@$(UV) pip install --quiet --python .venv --target .tools/syncnet --no-deps -r $<
	@touch $@

# Remotion's tests render in a browser; where none can be had they say so.
chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || [ "$$(id -u)" != 0 ] || \
	  { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core; } >/dev/null || \
	  echo "Chromium cannot be installed: the tests that render are skipped"

# The package itself is not installed: it would start a server.
.tools/promtool: | $(UV)
	@{ [ "$$(id -u)" != 0 ] || apt-get update -qq; cd .tools && apt-get download -qq prometheus && dpkg -x prometheus_*.deb prometheus && \
	  mv prometheus/usr/bin/promtool . && rm -r prometheus prometheus_*.deb; } >/dev/null 2>&1 || \
	  echo "promtool cannot be had: the tests of the alert rules are skipped"

# Where there is no Node, the tests that need it say so.
node_modules/.ok: package-lock.json
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund; else mkdir -p $(@D); fi
	@touch $@

%/node_modules/.ok: %/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix $* --silent --no-audit --no-fund; \
	  else mkdir -p $(@D); fi
	@touch $@
