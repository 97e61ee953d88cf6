# Everything a newcomer needs: `make search`; everything a contributor needs: `make check test`.
# Needs GNU make 3.82 or later. `make PYTHON=/path/to/python3 …` installs with another Python.

.ONESHELL:
.SHELLFLAGS := -ec
.PHONY: install search test test-slow test-gpu chaos check

BIN := .venv/bin
NEED_GB := 10
ADMITTED := $(shell sed -n 's/^requires-python *= *"\(.*\)"/\1/p' pyproject.toml)
# Exits 0 in a Python that requires-python admits. Run, not looked up: a pyenv shim exists, and exits 127.
ADMITS := import re, sys; v = sys.version_info[:2]; \
	rules = [(o, tuple(map(int, n.split(".")))) for o, n in re.findall(r"(>=|<)([\d.]+)", "$(ADMITTED)")]; \
	sys.exit(not all(v >= n if o == ">=" else v < n for o, n in rules))

install: .venv/installed
	@echo "Installed in .venv. Next: make search (a study of some minutes), make test, or $(BIN)/sparsity-tuner --help"

search: .venv/installed
	@set -x
	$(BIN)/sparsity-tuner search dip-denoise
	$(BIN)/sparsity-tuner confirm dip-denoise --top 1 --seeds 5
	$(BIN)/sparsity-tuner export dip-denoise

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

test-gpu: .venv/installed
	$(BIN)/python -m pytest -m gpu

# Hours; in parts: what .chaos/ledger.jsonl holds counts. `make chaos CHAOS_TIMES=100` goes on further.
chaos: .venv/installed
	$(BIN)/python -m pytest -m chaos -s tests/chaos

check: .venv/installed
	@set -x
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layering.py

# Written last, so that an installation which was interrupted is finished by the next make.
.venv/installed: pyproject.toml constraints.txt
	@say() { echo "$$*" >&2; exit 1; }
	admitted() { "$$1" -c '$(ADMITS)' >/dev/null 2>&1; }
	rm -f $@
	python='$(PYTHON)'
	if [ -n "$$python" ]; then
		admitted "$$python" || say "PYTHON=$$python does not run as a Python $(ADMITTED): name one that does, as in make PYTHON=/usr/bin/python3.11"
	else
		for one in python3.13 python3.12 python3.11 python3; do
			if admitted $$one; then python=$$one; break; fi
		done
		[ -n "$$python" ] || say "None of python3.13, python3.12, python3.11 and python3 runs here as a Python $(ADMITTED): install one, or name it, as in make PYTHON=/path/to/python3"
	fi
	version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	"$$python" -c 'import venv, ensurepip' >/dev/null 2>&1 || say "$$python has no venv module: install it (on Debian and Ubuntu: apt-get install python$$version-venv) and run make again"
	free=$$(df -Pk . | awk 'NR == 2 { print int($$4 / 1048576) }')
	used=$$(du -sk .venv 2>/dev/null | awk '{ print int($$1 / 1048576) }')
	[ $$((free + $${used:-0})) -ge $(NEED_GB) ] || say "$$free GB of disk are free here and an installation needs $(NEED_GB): make room, or clone the repository onto another disk"
	# A package that was cut off while it was written has no RECORD: forget it, so that pip writes it again.
	for package in .venv/lib/python*/site-packages/*.dist-info; do
		if [ -d "$$package" ] && [ ! -e "$$package/RECORD" ]; then rm -r "$$package"; fi
	done
	if ! admitted $(BIN)/python || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then "$$python" -m venv --clear .venv; fi
	echo "Installing into .venv with $$($(BIN)/python --version): about 6.5 GB and some minutes"
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test]'
	touch $@
