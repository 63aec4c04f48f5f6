user={{user}}
self={{self}}
pidfile={{pid_file}}
{{command}}
# As the user, with nothing but these variables and these words.
as_user() {
    exec env {{home}} {{path}} {{exe}} "$1"
}

# No shell of the user sees more than words of our own.
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
