# Each script sources this first. It runs the script again in private mount, network and process
# namespaces. Bridges, firewall rules, ports and mounts vanish with them, and nothing leaves the
# machine. Needs root. `OSTLER`: the program; `OSTLER_STATIC`: the static program, which goes into
# images; `cargo xtask engines` sets both.
set -euo pipefail
: "${OSTLER:?}" "${OSTLER_STATIC:?}"
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${IN_NAMESPACES:-}" ]; then
  exec env IN_NAMESPACES=1 unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private bash "$here/$(basename "$0")" "$@"
fi
ip link set lo up
mount -t tmpfs tmpfs /run; mkdir -p /run/lock
W=$(mktemp -d /var/tmp/ostler-engines.XXXXXX)
export OSTLER_HOME=$W/home
say() { printf '\n== %s\n' "$*"; }
die() { echo "FAILED: $*" >&2; exit 1; }
# until_is SECONDS WANTED COMMAND…: waits until the command prints WANTED.
until_is() {
  local seconds=$1 wanted=$2 end; shift 2; end=$((SECONDS + seconds))
  until [ "$("$@" 2>/dev/null)" = "$wanted" ]; do [ $SECONDS -lt $end ] || die "after $seconds s \`$*\` is $("$@" 2>&1 | tail -1), not $wanted"; sleep .2; done
}
# Makes the base image without a registry: Node with its linked libraries, and busybox. podman uses
# `curl` for probes.
base() {
  local r=$W/rootfs; mkdir -p "$r"/{bin,etc,tmp,usr/local,lib64,var/run,root}; chmod 1777 "$r/tmp"
  cp -L "$(command -v busybox)" "$r/bin/busybox"
  for name in $(busybox --list); do [ "$name" = busybox ] || ln -sf busybox "$r/bin/$name"; done
  local npm node; node=$(command -v node); npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
  mkdir -p "$r/usr/bin" "$r/usr/local/bin" "$r/usr/local/lib/node_modules"; ln -sf ../../bin/busybox "$r/usr/bin/env"
  echo 'root:x:0:0:root:/root:/bin/sh' > "$r/etc/passwd"; echo 'root:x:0:' > "$r/etc/group"
  cp -L "$node" "$r/usr/local/bin/node"; cp -a "$npm" "$r/usr/local/lib/node_modules/"; ln -s ../lib/node_modules/npm/bin/npm-cli.js "$r/usr/local/bin/npm"
  { ldd "$r/usr/local/bin/node"; } | grep -o '/[^ ]*' | while read -r file; do mkdir -p "$r$(dirname "$file")"; cp -L "$file" "$r$file"; done
  # Debian's busybox lacks these two commands, which Alpine has.
  printf '#!/bin/sh\nwhile [ $# -gt 1 ]; do [ "$1" = -g ] && id=$2; shift; done\necho "$1:x:$id:" >> /etc/group\n' > "$r/bin/addgroup"
  printf '#!/bin/sh\nwhile [ $# -gt 1 ]; do [ "$1" = -u ] && id=$2; shift; done\necho "$1:x:$id:$id::/:/bin/false" >> /etc/passwd\n' > "$r/bin/adduser"
  chmod +x "$r/bin/addgroup" "$r/bin/adduser"
  printf '#!/bin/sh\nfor word; do url=$word; done\nexec wget -q -O - "$url"\n' > "$r/bin/curl"; chmod +x "$r/bin/curl"
  tar -C "$r" -cf "$W/base.tar" .; rm -rf "$r"
}
# Makes the project: a copy of the app, and its exported files.
project() {
  cp -r "$here/app" "$W/shop"; cp "$OSTLER_STATIC" "$W/shop/ostler"; cd "$W/shop"
}
