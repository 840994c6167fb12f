#!/usr/bin/env bash
# Build the image without a GPU and put it through its life, on a container engine of its own:
#   scripts/test_containers.sh [--keep] [--work FOLDER]
# A base made by debootstrap stands in for the base image, so no container registry is asked. Wheels
# come from pip's indexes as this machine is set up, once; the build gets them from a folder. Then
# deploy/docker-compose.cpu.yml goes up, and scripts/containers.py does jobs, kills and restarts.
# Needs root. Says `skip:` and why, and exits 0, where no engine can run.
set -euo pipefail
cd "$(dirname "$0")/.."

keep=no work=/var/tmp/mouthpiece-containers
while [ $# -gt 0 ]; do
  case "$1" in
    --keep) keep=yes; shift ;;
    --work) work=$(realpath -m "${2:?--work needs a folder}"); shift 2 ;;
    -h | --help) sed -n '2,8s/^# \?//p' "$0"; exit 0 ;;
    *) echo "containers: unknown option '$1'; allowed: --keep, --work FOLDER" >&2; exit 2 ;;
  esac
done
say() { echo "containers: $*"; }
skip() { echo "skip: $*"; exit 0; }

[ "$(id -u)" = 0 ] || skip "only root can start a container engine"
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || skip "the image is built for Linux on x86-64 only"
programs=(dockerd docker-compose debootstrap)
packages=(docker.io docker-compose debootstrap iptables)
missing=no
for program in "${programs[@]}"; do command -v "$program" >/dev/null || missing=yes; done
if [ $missing = yes ]; then
  command -v apt-get >/dev/null || skip "${programs[*]} are not all here, nor is apt-get"
  say "installing ${packages[*]}"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
    --no-install-recommends "${packages[@]}"; } >/dev/null 2>&1 ||
    skip "could not install ${packages[*]}"
fi
scripts/setup.sh >/dev/null
python=$PWD/.venv/bin/python
mkdir -p "$work"
base=$(sed -n 's/^ARG BASE=//p' deploy/docker/Dockerfile)
mirror=${APT_MIRROR:-} # empty: the default of debootstrap, then what the base was made from

pids=()
clean() {
  [ $keep = yes ] && { say "kept: export DOCKER_HOST=$DOCKER_HOST; engine ${pids[*]}"; return; }
  [ -S "$work/docker.sock" ] && compose down --volumes --timeout 20 >/dev/null 2>&1 || true
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
}
trap clean EXIT

# An engine of its own: nobody's images, names or networks are touched.
export DOCKER_HOST=unix://$work/docker.sock
dockerd --host "$DOCKER_HOST" --data-root "$work/engine" --exec-root "$work/run" \
  --pidfile "$work/docker.pid" --bridge none >"$work/dockerd.log" 2>&1 &
pids+=($!)
for _ in $(seq 60); do
  docker info >/dev/null 2>&1 && break
  kill -0 "${pids[0]}" 2>/dev/null ||
    skip "dockerd cannot run here: $(grep -v level=info "$work/dockerd.log" | tail -1)"
  sleep 0.5
done
docker info >/dev/null 2>&1 || skip "dockerd does not answer; see $work/dockerd.log"

started=$SECONDS
if ! docker image inspect "$base" >/dev/null 2>&1; then
  [ -s "$work/base.tar" ] || {
    say "making $base with debootstrap"
    rm -rf "$work/base"
    debootstrap --variant=minbase bookworm "$work/base" ${mirror:+"$mirror"} >"$work/debootstrap.log" 2>&1 ||
      skip "debootstrap failed (no network?): $(tail -1 "$work/debootstrap.log")"
    rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/*
    tar -C "$work/base" -cf "$work/base.tar" .
    rm -rf "$work/base"
  }
  docker import "$work/base.tar" "$base" >/dev/null
fi
say "base $base: $((SECONDS - started)) s"
docker network create mouthpiece-probe >"$work/probe.log" 2>&1 &&
  docker run --rm --network mouthpiece-probe --cap-drop ALL "$base" true >"$work/probe.log" 2>&1 ||
  skip "the kernel lets no container run: $(tail -1 "$work/probe.log")"
docker network rm mouthpiece-probe >/dev/null

started=$SECONDS
"$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
  -d "$work/wheels" -r deploy/docker/lock-cpu.txt 2>"$work/pip.log" ||
  { tail -3 "$work/pip.log"; exit 1; }
say "wheels: $((SECONDS - started)) s"
port=$("$python" -c 'from scripts.demo import free_ports; print(*free_ports(3))')
read -r wheels_port PORT OPS_PORT <<<"$port"
"$python" -m http.server --bind 127.0.0.1 --directory "$work/wheels" "$wheels_port" \
  >"$work/wheels.log" 2>&1 &
pids+=($!)

export MOUTHPIECE_IMAGE=mouthpiece:cpu
build() {
  docker build --network host -q -f deploy/docker/Dockerfile -t "$MOUTHPIECE_IMAGE" \
    --build-arg DEVICE=cpu --build-arg APT_MIRROR="$mirror" --build-arg PIP_NO_INDEX=1 \
    --build-arg "PIP_FIND_LINKS=http://127.0.0.1:$wheels_port/" \
    --build-arg PIP_TRUSTED_HOST=127.0.0.1 . >"$work/image" 2>"$work/build.log" ||
    { tail -15 "$work/build.log"; exit 1; }
}
for turn in "first" "again, from cached layers"; do
  started=$SECONDS
  build
  say "build, $turn: $((SECONDS - started)) s"
done

DATA_FOLDER=$work/data
rm -rf "$DATA_FOLDER"
install -d -o 1000 -g 1000 "$DATA_FOLDER" "$DATA_FOLDER/temp"
export PORT OPS_PORT DATA_FOLDER
export LOG_LEVEL=info
compose() { docker-compose -p mouthpiece-test -f deploy/docker-compose.cpu.yml "$@"; }
compose down --volumes >/dev/null 2>&1 || true
compose up -d --no-build >"$work/up.log" 2>&1 || { tail -5 "$work/up.log"; exit 1; }
container=$(compose ps -q mouthpiece)
status=0
"$python" -m scripts.containers --container "$container" --image "$MOUTHPIECE_IMAGE" \
  --port "$PORT" --ops-port "$OPS_PORT" --data "$DATA_FOLDER" --work "$work/media" || status=$?
[ $status = 0 ] || compose logs --no-color --tail 40
exit $status
