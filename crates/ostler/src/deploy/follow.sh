# Runs on the host: starts the job, or follows a job that already runs. NAME, ID, WHAT, FROM, START and JOB are set above.
D=$HOME/.ostler-deploy/$NAME
R=$D/$ID
kind=mine
mask=$(umask)
umask 077
# True if this run has a process.
alive() {
  p=$(cat "$1/pid" 2>/dev/null) && [ -n "$p" ] && kill -0 "$p" 2>/dev/null || return 1
  [ ! -r "/proc/$p/cmdline" ] || tr '\0' ' ' < "/proc/$p/cmdline" | grep -qF "$1/run"
}
claim() { (set -C; printf '%s\n' "$ID" > "$D/owner") 2>/dev/null; }
# True if this run is active. A run that owns the lock but has no pid yet counts as active for one minute.
in_progress() {
  [ ! -f "$1/code" ] || return 1
  [ -f "$1/pid" ] || { [ -n "$(find "$D/owner" -mmin -1)" ]; return; }
  alive "$1"
}
begin() {
  stale=
  if ! claim; then
    old=$(cat "$D/owner" 2>/dev/null)
    if [ "$old" != "$ID" ] && [ -n "$old" ] && in_progress "$D/$old"; then
      R=$D/$old
      kind=other
      [ "$(cat "$R/what" 2>/dev/null)" != "$WHAT" ] || kind=same
      return
    fi
    if [ "$old" != "$ID" ]; then
      stale=1
      rm -f "$D/owner"
      claim || { echo 'another deployment has just started here'; exit 77; }
    fi
  fi
  for d in "$D"/*/; do [ "$d" = "$R/" ] || rm -rf "$d"; done
  mkdir -p "$R" && printf '%s' "$WHAT" > "$R/what" && printf '%s' "$JOB" > "$R/run" && : >> "$R/log" || exit 77
  # The job gets its own session, so it outlives this connection.
  own=
  ! command -v setsid >/dev/null 2>&1 || own=setsid
  (cd "$HOME" && umask "$mask" && exec $own sh "$R/run" "$R" "$D" "$stale" </dev/null >>"$R/log" 2>&1) &
  until [ -f "$R/pid" ]; do
    kill -0 $! 2>/dev/null || [ -f "$R/pid" ] || { cat "$R/log"; rm -f "$D/owner"; exit 77; }
    sleep 0.05 2>/dev/null || sleep 1
  done
}
follow() {
  n=$FROM
  while :; do
    code=$(cat "$R/code" 2>/dev/null)
    [ -n "$code" ] || alive "$R" || code=$(cat "$R/code" 2>/dev/null || echo 70)
    size=$(($(wc -c < "$R/log")))
    if [ "$size" -gt "$n" ]; then
      tail -c "+$((n + 1))" "$R/log" | head -c "$((size - n))" || exit 77
      n=$size
    fi
    [ -z "$code" ] || break
    sleep 0.1 2>/dev/null || sleep 1
  done
}
main() {
  if [ ! -f "$R/pid" ]; then
    [ -n "$START" ] || { echo 'the deployment is no longer known here'; exit 77; }
    mkdir -p "$D" || exit 77
    begin
  fi
  printf 'ostler-deploy run %s %s\n' "${R##*/}" $kind
  follow
  exit "$code"
}
main </dev/null
