# Runs on the host with /bin/sh. P, W, REF, FETCH and the functions hook_* and names are set above.
case $P in '~/'*) P=$HOME/${P#'~/'} ;; /*) ;; *) P=$HOME/$P ;; esac
say() { printf '  ○ %s\n' "$*"; }
fail() { printf '\n  %s\n\n' "$*"; exit 1; }

# Runs a hook in its folder. It uses bash if the host has it, as PM2 does.
hook() {
  [ -n "$3" ] || return 0
  say "executing $1 \`$3\`"
  cd "$2" || return 1
  if command -v bash >/dev/null 2>&1; then bash -c "$3"; else sh -c "$3"; fi
}

setup() {
  (hook pre-setup "$HOME" "$PRE_SETUP") || fail 'pre-setup hook failed'
  say 'running setup'
  mkdir -p "$P/shared/logs" "$P/shared/pids" || fail "cannot create the folders in $P"
  if [ -e "$P/source/.git" ]; then
    say "cloned already: $P/source"
  else
    # Clones into another folder first, so an interrupted clone is not mistaken for a complete one.
    rm -rf "$P/source.part"
    say "cloning $REPO"
    git clone $CLONE -- "$REPO" "$P/source.part" || fail 'failed to clone'
    [ ! -d "$P/source" ] || rmdir "$P/source" || fail "$P/source exists and is not a git clone"
    mv "$P/source.part" "$P/source" || fail 'failed to clone'
  fi
  touch "$P/.deploys" && ln -sfn "$P/source" "$P/current" || fail "cannot write in $P"
  (hook post-setup "$P/current" "$POST_SETUP") || fail 'post-setup hook failed'
  say 'setup complete'
}

# Waits until the apps are healthy. Skips the check if no ostler on this host runs these apps.
is_healthy() {
  for program in ostler pm2; do
    file=$(command -v "$program") || continue
    case $(readlink -f "$file" 2>/dev/null || printf '%s' "$file") in */ostler) ;; *) continue ;; esac
    set --
    while read -r name; do
      case $("$program" id "$name" 2>/dev/null) in '['*[0-9]*) set -- "$@" "$name" ;; esac
    done <<NAMES
$(names)
NAMES
    [ $# -gt 0 ] || continue
    say "waiting until healthy: $*"
    "$program" health "$@" --wait "$HEALTH"
    case $? in 0) return 0 ;; 2) break ;; *) return 1 ;; esac
  done
  say 'health is not checked: no ostler on this host runs these apps'
}

# Checks out commit $1. If it is the tip of a branch, $2 is that branch, and the clone's branch of the same name moves to it.
# Otherwise $2 is empty and HEAD is detached, so no branch of the clone moves.
check_out() {
  git reset --quiet --hard || return 1
  [ -n "$2" ] && git checkout --quiet --force -B "$2" --track "refs/remotes/origin/$2" 2>/dev/null && [ "$(git rev-parse HEAD)" = "$1" ] && return
  git checkout --quiet --force --detach "$1"
}

# Releases a commit: checks it out, runs post-deploy and waits until the apps are healthy.
release() {
  say "resetting HEAD to $1"
  cd "$P/source" && check_out "$1" "$2" && ln -sfn "$P/source" "$P/current" || { say 'failed to reset'; return 1; }
  (variables; hook post-deploy "$P/current" "$POST_DEPLOY") || { say 'post-deploy hook failed'; return 1; }
  (variables; is_healthy) || { say 'the new release is not healthy'; return 1; }
}

deploy() {
  [ -e "$P/source/.git" ] || fail "there is no clone in $P/source: run setup first"
  former=$(tail -n 1 "$P/.deploys" 2>/dev/null)
  if [ -n "$BACK" ]; then
    say "reverting $BACK deploy(s)"
    REF=$(tail -n "$((BACK + 1))" "$P/.deploys" 2>/dev/null | head -n 1)
    [ "$(($(wc -l < "$P/.deploys")))" -gt "$BACK" ] || fail "there are not that many deployments to revert"
  fi
  say "deploying $REF"
  (hook pre-deploy "$P/current" "$PRE_DEPLOY") || fail 'pre-deploy hook failed; nothing was changed'
  cd "$P/source" || exit 1
  # A killed deployment left this lock; no other deployment runs here now.
  [ -z "$STALE" ] || rm -f .git/index.lock
  say 'fetching updates'
  git fetch $FETCH --all --tags --force || fail 'fetch failed; nothing was changed'
  new=
  branch=
  case $REF in origin/*) branch=${REF#origin/} ;; *) [ -z "$REMOTE" ] || branch=$REF ;; esac
  [ -z "$branch" ] || new=$(git rev-parse --verify --quiet "refs/remotes/origin/$branch^{commit}") || branch=
  [ -n "$new" ] || new=$(git rev-parse --verify --quiet "$REF^{commit}") || fail "the repository has no $REF; nothing was changed"
  if release "$new" "$branch"; then
    printf '%s\n' "$new" >> "$P/.deploys" || fail "cannot write in $P"
    say "successfully deployed $REF"
    return
  fi
  [ -n "$former" ] || fail 'there is no previous release to restore'
  former=$(git rev-parse --verify --quiet "$former^{commit}") || fail 'the previous release is no longer in the repository'
  [ "$former" != "$new" ] || fail 'the previous release is the same commit: nothing to restore'
  say "restoring $former"
  release "$former" "" || fail 'restoring the previous release failed, too'
  say "the previous release $former was restored"
  exit 5
}
