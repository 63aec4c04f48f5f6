user={{user}}
self={{self}}
pidfile={{pid_file}}
{{command}}
# Runs a command as the user, with these variables and arguments only.
as_user() {
    exec env {{home}} {{path}} {{exe}} "$1"
}

# Passes only fixed words to a shell of the user.
run() {
    if [ "$(id -un)" = "$user" ]; then
        ( as_user "$1" )
    else
        {{su}}
    fi
}

running() {
    [ -f "$pidfile" ] && kill -0 "$(cat "$pidfile")" 2>/dev/null
}
