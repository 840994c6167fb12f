#!/usr/bin/env bash
# Start the server. Every setting is an environment variable: docs/settings.md.
#   scripts/start_gpu_server.sh [--production|--flask] [--diagnose] [--help] [gunicorn options]
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: scripts/start_gpu_server.sh [--production|--flask] [--diagnose] [--help] [gunicorn options]
  --production  Gunicorn with gunicorn.conf.py (the default)
  --flask       Flask's own server, for development
  --diagnose    the doctor: what is wrong with machine, installation and settings, and what mends
                it. Alone it starts nothing, and further options are its own (--quick, --json,
                --only NAME); with --production or --flask the server starts after it, unless it
                finds a problem
Every setting is an environment variable (docs/settings.md), for example:
  HOST=0.0.0.0 PORT=8383 API_KEY=a-long-secret scripts/start_gpu_server.sh
END
}

mode="" diagnose=""
while [ $# -gt 0 ]; do
  case "$1" in
    --production | --flask) mode=${1#--}; shift ;;
    --diagnose) diagnose=yes; shift ;;
    -h | --help) usage; exit 0 ;;
    *) break ;;
  esac
done
root=$PWD

# Any Python runs the doctor: it must work where .venv does not.
doctor() {
  local python=$root/.venv/bin/python
  "$python" -c '' 2>/dev/null || python=python3
  (cd "$here" && "$python" "$root/scripts/check_gpu_gunicorn.py" "$@")
}
if [ -n "$diagnose" ]; then
  [ -n "$mode" ] || { doctor "$@"; exit; }
  code=0
  doctor -- "$@" || code=$?
  [ $code -lt 2 ] || { echo "not started: mend the problems above" >&2; exit $code; }
fi

[ -x .venv/bin/python ] && .venv/bin/python -c 'import gunicorn' 2>/dev/null || scripts/setup.sh
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
cd "$here" # a relative DATA_DIR means the caller's folder
case ${mode:-production} in
  production) exec "$root/.venv/bin/python" "$root/app_production.py" "$@" ;;
  flask) exec "$root/.venv/bin/python" "$root/app_server.py" ;;
esac
