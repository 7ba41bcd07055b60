#!/bin/sh
# Starts the lab's containers and waits until they are ready: `make up`. Arguments go to `docker compose up`.
set -eu
cd "$(dirname "$0")/.."

fail() { echo "rolecall: $1" >&2; exit 1; }

command -v docker >/dev/null || fail "make up needs Docker with Compose; make run needs neither"
docker compose version >/dev/null 2>&1 || fail "this Docker has no Compose (the plugin docker-compose-plugin); make run needs neither"
docker info >/dev/null 2>&1 || fail "Docker does not answer; is it running, and may you use it?"
case ${HOSTS:-localhost} in
  localhost) ;;
  localhost-names) export CLIENT_HOST=app.localhost AUTH_HOST=auth.localhost RESOURCE_HOST=api.localhost OBSERVER_HOST=observer.localhost ;;
  *) fail "HOSTS is $HOSTS, and must be one of localhost, localhost-names" ;;
esac

project=$(docker compose config --format json | sed -n 's/^  "name": "\(.*\)",$/\1/p' | head -n 1)
if [ ! -d .rolecall/compose ] && docker volume inspect "${project}_postgres" >/dev/null 2>&1; then
  fail "an earlier clone left its database behind, and its passwords are not here; docker compose down --volumes removes it"
fi
sh compose/secrets.sh .rolecall/compose lab
# makes plain `docker compose` commands use the same stack; a .env file that you wrote is kept
mark="# written by make up"
if [ ! -e .env ] || head -n 1 .env | grep -qx "$mark"; then
  {
    echo "$mark"
    for name in CLIENT_HOST AUTH_HOST RESOURCE_HOST OBSERVER_HOST CLIENT_PORT AUTH_PORT RESOURCE_PORT OBSERVER_PORT; do
      eval "value=\${$name:-}"
      [ -z "$value" ] || echo "$name=$value"
    done
  } >.env
fi
if ! docker compose up --build --detach --wait --quiet-pull --remove-orphans "$@"; then
  # the last log lines of a stopped container show the reason
  for container in $(docker compose ps --all --quiet --status exited --status restarting); do
    docker inspect --format '{{.State.ExitCode}}' "$container" | grep -qx 0 && continue
    echo "rolecall: $(docker inspect --format '{{index .Config.Labels "com.docker.compose.service"}}' "$container") stopped:" >&2
    docker logs --tail 3 "$container" >&2
  done
  fail "the containers did not become ready; make doctor looks for the reason"
fi
echo "Open       http://${CLIENT_HOST:-localhost}:${CLIENT_PORT:-8000}   (make logs, make ps, make doctor, make down)"
