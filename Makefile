# Every target installs what it needs, asks nothing and can be repeated.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# Written last by `setup`; older than its inputs, it is made again.
STAMP := $(VENV)/.setup-done
SOURCES := $(wildcard visitas_dagster tests benchmarks)
# One more than there are processors, up to four: a third of the tests' time is waiting for servers and retries.
WORKERS := $(shell n=$$(( $$(nproc) + 1 )); echo $$(( n < 4 ? n : 4 )))

.PHONY: help setup demo test check format bench pins clean

help: ## esta lista
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: $(STAMP) ## crea .venv con las versiones fijadas y el paquete

$(STAMP): pyproject.toml requirements-dev.txt tools/make-venv tools/apt-install
	@tools/make-venv
	@touch $@

demo: setup ## la plataforma entera en esta máquina, con reportes de muestra
	@$(BIN)/visitas demo

test: setup ## instala los servidores de prueba que falten y corre todas las pruebas
	@tools/install-test-servers
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

check: setup ## formato, estilo, tipos y capas
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports

format: setup ## da formato y corrige lo que se corrige solo
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## mide la plataforma en esta máquina
	@$(BIN)/python -m benchmarks $(ARGS)

pins: setup ## vuelve a calcular requirements.txt y requirements-dev.txt desde pyproject.toml
	$(PIN) --group build --output-file requirements.txt
	$(PIN) --group dev --output-file requirements-dev.txt

# Which registry served a file is no one's business but the machine's: neither its address nor a link is written.
PIN = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --only-binary :all: \
	--generate-hashes --no-strip-extras --no-emit-index-url --no-emit-find-links --custom-compile-command "make pins" $(ARGS)

clean: ## borra .venv y las cachés; los datos de var/ se quedan
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
