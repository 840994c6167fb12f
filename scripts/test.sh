#!/usr/bin/env bash
# The whole suite: set-up, gates, tests with branch coverage. Arguments go to pytest (then without
# the gates and the coverage bound): scripts/test.sh tests/unit -k lane
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev

# Programs that some tests drive. Without the right to install them those tests skip, saying why.
packages=(curl ffmpeg espeak-ng flite gcc libc6-dev)
missing=()
for package in "${packages[@]}"; do
  dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  as_root=""
  [ "$(id -u)" = 0 ] || as_root="sudo -n"
  if $as_root true 2>/dev/null; then
    echo "test: installing ${missing[*]}"
    $as_root apt-get update -q >/dev/null || true
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q "${missing[@]}" >/dev/null ||
      echo "test: could not install ${missing[*]}; some tests will skip"
  else
    echo "test: not installed and no right to: ${missing[*]}; some tests will skip"
  fi
fi

# promtool checks the metrics and the alert rules. It is taken out of Debian's package, which is not
# installed: that would start a Prometheus here.
fetch_promtool() {
  local folder
  folder=$(mktemp -d)
  (
    cd "$folder"
    apt-get download -q prometheus >/dev/null 2>&1 && dpkg-deb -x prometheus_*.deb .
  ) && install "$folder/usr/bin/promtool" .venv/bin/promtool ||
    echo "test: could not fetch promtool; the tests of metrics and alerts will skip"
  rm -rf "$folder"
}
if ! command -v promtool >/dev/null && [ ! -x .venv/bin/promtool ]; then
  fetch_promtool
fi

if [ $# -gt 0 ]; then
  exec .venv/bin/python -m pytest "$@"
fi
scripts/check.sh
.venv/bin/python -m coverage erase
.venv/bin/python -m coverage run -m pytest
.venv/bin/python -m coverage combine --quiet
.venv/bin/python -m coverage report
