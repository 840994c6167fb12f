#!/usr/bin/env bash
# The gates of the code: style, types, layers, sizes.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
bin=.venv/bin
failed=0
gate() {
  echo "check: $1"
  shift
  "$@" || failed=1
}
gate "ruff" $bin/ruff check .
gate "format" $bin/ruff format --check .
gate "types" $bin/mypy
gate "layers" $bin/lint-imports --no-logo
gate "sizes" $bin/python scripts/check_sizes.py
[ $failed = 0 ] && echo "check: all gates are green" || echo "check: FAILED"
exit $failed
