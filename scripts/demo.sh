#!/usr/bin/env bash
# From nothing to a talking video: set-up, server, one job over HTTP, demo/output.mp4.
#   scripts/demo.sh [--video V --audio A]
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."

video="" audio=""
absolute() { case "$1" in /*) echo "$1" ;; *) echo "$here/$1" ;; esac; }
while [ $# -gt 0 ]; do
  case "$1" in
    --video) video=$(absolute "${2:?--video needs a file}"); shift 2 ;;
    --audio) audio=$(absolute "${2:?--audio needs a file}"); shift 2 ;;
    -h | --help) echo "usage: scripts/demo.sh [--video V] [--audio A]"; exit 0 ;;
    *) echo "demo: unknown option '$1'; allowed: --video V, --audio A" >&2; exit 2 ;;
  esac
done
scripts/setup.sh
python=.venv/bin/python
mkdir -p demo

if [ -z "$video" ]; then
  video=$PWD/demo/face.mp4
  [ -s "$video" ] || $python -m scripts.make_samples video "$video"
fi
audio=${audio:-$PWD/scripts/assets/speech.flac}
exec $python -m scripts.demo --video "$video" --audio "$audio" --output demo/output.mp4
