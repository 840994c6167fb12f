#!/usr/bin/env bash
# Make .venv and install what the server needs (with --dev: what the tests and checks need, too).
# Safe to run again: it does nothing when the requirements have not changed.
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: scripts/setup.sh [--dev]"
kind=run
case "${1:-}" in
  "") ;;
  --dev) kind=dev ;;
  -h | --help) echo "$usage"; exit 0 ;;
  *) echo "setup: unknown option '$1'. $usage" >&2; exit 2 ;;
esac

say() { printf 'setup: %s\n' "$*"; }

find_python() {
  local name
  for name in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    [ -n "$name" ] || continue
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  say "no Python 3.11 or newer was found; install it (Debian: apt-get install python3 python3-venv)" >&2
  return 1
}

# Debian ships Python without ensurepip; python3-venv brings it.
have_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
install_venv() {
  local get="apt-get install -y -q python3-venv"
  if [ "$(id -u)" = 0 ]; then
    apt-get update -q >/dev/null && $get >/dev/null
  elif sudo -n true 2>/dev/null; then
    sudo apt-get update -q >/dev/null && sudo $get >/dev/null
  else
    say "Python's venv module is missing; run: sudo apt-get install python3-venv" >&2
    return 1
  fi
}

python=$(find_python)
lock_files=(requirements.txt)
[ "$kind" = run ] || lock_files+=(requirements-dev.txt)
stamp=".venv/.$kind-$(cat "${lock_files[@]}" | sha256sum | cut -c1-16)"

if [ -e "$stamp" ] && .venv/bin/python -c '' 2>/dev/null; then
  say ".venv is up to date"
  exit 0
fi
started=$SECONDS
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  have_venv "$python" || install_venv
  say "making .venv with $("$python" --version)"
  rm -rf .venv
  "$python" -m venv .venv
fi
wanted=${lock_files[-1]}
say "installing $wanted (some minutes the first time; torch and onnxruntime are large)"
.venv/bin/python -m pip install --disable-pip-version-check --progress-bar off -r "$wanted" |
  while read -r line; do
    case "$line" in
      Collecting*) printf '\rsetup:   %-60.60s' "${line%%(*}" ;;
      Installing*) printf '\rsetup:   unpacking …%50s\n' "" ;;
      *rror*) printf '\n%s\n' "$line" ;;
    esac
  done
.venv/bin/python -m pip check >/dev/null || say "note: pip reports packages that disagree; see .venv/bin/pip check"
rm -f ".venv/.$kind-"*
touch "$stamp"
say "done in $((SECONDS - started)) s"
