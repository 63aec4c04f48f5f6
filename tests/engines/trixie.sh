#!/usr/bin/env bash
# Newer engines on the same kernel: runs the scripts for Docker, Compose, Swarm and podman again
# with the engines of Debian 13 (Docker 26, podman 5). They run in a root made by debootstrap and
# entered by pivot_root, because engines refuse a plain chroot. The root (1 GB, some minutes) stays
# in $OSTLER_ENGINES_ROOT for the next run. Debian: debootstrap iproute2; Node and npm are this
# machine's.
set -euo pipefail
: "${OSTLER:?}" "${OSTLER_STATIC:?}"
here=$(cd "$(dirname "$0")" && pwd)
root=${OSTLER_ENGINES_ROOT:-/var/tmp/ostler-engines-trixie}
if [ ! -e "$root/.done" ]; then
  [ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase trixie "$root" >/dev/null
  printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"; chmod +x "$root/usr/sbin/policy-rc.d"; cp /etc/resolv.conf "$root/etc/"
  chroot "$root" sh -c 'apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io docker-cli docker-compose \
    docker-buildx podman buildah runc crun netavark aardvark-dns nftables iptables catatonit conmon iproute2 wget busybox-static' >/dev/null 2>&1
  touch "$root/.done"
fi
if [ -z "${IN_NAMESPACES:-}" ]; then
  exec env IN_NAMESPACES=1 unshare --mount --net --pid --fork --kill-child --propagation private bash "$here/trixie.sh"
fi
node=$(command -v node); npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
cp -L "$node" "$root/usr/bin/node"; rm -rf "$root/usr/lib/node_modules/npm"; mkdir -p "$root/usr/lib/node_modules"
cp -a "$npm" "$root/usr/lib/node_modules/npm"; ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/bin/npm"
mount --bind "$root" "$root"; cd "$root"
rm -rf var/tmp/ostler-engines.*; mkdir -p .old engines; mount --bind "$here" engines
for program in OSTLER OSTLER_STATIC; do cp "${!program}" "tmp/$program"; done
mount --rbind /sys sys; mount --rbind /dev dev; mount -t proc proc proc; mount -t tmpfs tmpfs run
pivot_root . .old; umount -l /.old
for script in docker podman; do
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root IN_NAMESPACES=1 PODMAN_IGNORE_CGROUPSV1_WARNING=1 OSTLER=/tmp/OSTLER OSTLER_STATIC=/tmp/OSTLER_STATIC \
    COMPOSE=/usr/libexec/docker/cli-plugins/docker-compose bash "/engines/$script.sh"
done
echo; echo "Debian $(cat /etc/debian_version): all done"
