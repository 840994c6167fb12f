#!/usr/bin/env bash
# Start the server. Every setting is an environment variable: docs/settings.md.
#   scripts/start_gpu_server.sh [--production|--diagnose|--flask|--help] [gunicorn options]
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: scripts/start_gpu_server.sh [--production|--diagnose|--flask|--help] [gunicorn options]
  --production  Gunicorn with gunicorn.conf.py (the default)
  --diagnose    print device, listeners, disk, models and settings in force, and start nothing
  --flask       Flask's own server, for development
Every setting is an environment variable (docs/settings.md), for example:
  HOST=0.0.0.0 PORT=8383 API_KEY=a-long-secret scripts/start_gpu_server.sh
END
}

mode=production
case "${1:-}" in
  --production) shift ;;
  --diagnose) mode=diagnose; shift ;;
  --flask) mode=flask; shift ;;
  -h | --help) usage; exit 0 ;;
esac
[ -x .venv/bin/python ] && .venv/bin/python -c 'import gunicorn' 2>/dev/null || scripts/setup.sh
root=$PWD
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
cd "$here" # a relative DATA_DIR means the caller's folder
case $mode in
  production) exec "$root/.venv/bin/python" "$root/app_production.py" "$@" ;;
  diagnose) exec "$root/.venv/bin/python" -m server.diagnose ;;
  flask) exec "$root/.venv/bin/python" "$root/app_server.py" ;;
esac
