#!/usr/bin/env bash
# podman plays the manifests of `export kubernetes`: they start, have their variables and limits,
# become healthy, and stop in order. Debian: podman buildah runc conmon netavark aardvark-dns
# iptables busybox-static iproute2.
. "$(dirname "$0")/lib.sh"
export CONTAINERS_CONF=$W/containers.conf CONTAINERS_STORAGE_CONF=$W/storage.conf
printf '[storage]\ndriver = "overlay"\nrunroot = "/run/c/run"\ngraphroot = "%s/graph"\n' "$W" > "$CONTAINERS_STORAGE_CONF"
cat > "$CONTAINERS_CONF" <<'S'
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
S
end() {
  local code=$?; set +e; { podman pod rm -af -t 1; podman rm -af -t 1; umount "$W/graph/overlay"; cd /; rm -rf "$W"; find /sys/fs/cgroup -depth -type d -path '*/libpod_parent*' -exec rmdir {} +; } >/dev/null 2>&1; exit $code
}
trap end EXIT
exec 2> >(grep -v -E 'systemd connection|syslog' >&2)
base; cd "$W"; podman import "$W/base.tar" docker.io/library/node:22-alpine >/dev/null 2>&1
project

say "image: built, health asked by podman"
"$OSTLER" export dockerfile >/dev/null; "$OSTLER" export kubernetes --image localhost/shop --tag 1 >/dev/null
podman build --pull=never -q --format docker -t localhost/shop:1 . >/dev/null
podman image inspect localhost/shop:1 --format 'user {{.Config.User}}, health {{.HealthCheck.Test}}'

say "kube play: each app's manifest"
for file in k8s/*.yaml; do
  # podman ignores everything except pods (scaling, ingress, budgets). Probes name their port, but
  # podman does not resolve the name (it probes port 0). It also uses a local image only if
  # `imagePullPolicy` is set.
  port=$(sed -n 's/.*containerPort: //p' "$file" | head -1)
  sed -i -e "s/^\( *port: \)http$/\1$port/" -e "s/^\( *\)image: .*/&\n\1imagePullPolicy: Never/" "$file"
  podman kube play "$file" > "$W/played" 2>&1 || die "$file: $(cat "$W/played")"
done
until_is 60 2 sh -c "podman pod ps --format '{{.Status}}' | grep -c Running"; podman pod ps --format '{{.Name}} {{.Status}}'
pod=$(podman pod ps --format '{{.Name}}' | grep api); container=$(podman ps --pod --format '{{.Names}} {{.PodName}}' | grep -v infra | grep " $pod" | cut -d' ' -f1 | head -1)
until_is 30 one podman exec "$container" wget -q -O - http://127.0.0.1:8080/; echo "api answers"
until_is 30 yes sh -c "podman healthcheck run $container >/dev/null 2>&1 && echo yes"; echo "liveness: passes"
podman inspect "$container" --format 'user {{.Config.User}}, memory {{.HostConfig.Memory}}, cpu {{.HostConfig.CpuQuota}}/{{.HostConfig.CpuPeriod}}, read only {{.HostConfig.ReadonlyRootfs}}'
podman pod stop -t 10 "$pod" >/dev/null
podman logs "$container" 2>&1 | grep -q 'has ended in order' || die "$(podman logs "$container" 2>&1)"
podman inspect "$container" --format 'stopped: exit code {{.State.ExitCode}}'
echo; echo "$(podman --version): all done"
