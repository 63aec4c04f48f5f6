#!/bin/sh
#
# Written by `{{program}} startup`; `{{program}} unstartup` removes it.
#
# PROVIDE: {{name}}
# REQUIRE: LOGIN NETWORKING
# KEYWORD: shutdown

{{as_user}}
if [ "$1" = as-user ]; then
    as_user "$2"
fi

. /etc/rc.subr

name={{name}}
rcvar={{name}}_enable
extra_commands="reload status"
start_cmd={{name}}_start
stop_cmd={{name}}_stop
restart_cmd={{name}}_restart
reload_cmd={{name}}_reload
status_cmd={{name}}_status

{{name}}_start() {
    run resurrect
}

{{name}}_stop() {
    run kill
}

{{name}}_reload() {
    run update
}

# Replaces the daemon and the keeper; apps keep running.
{{name}}_restart() {
    if running; then run update; else run resurrect; fi
}

{{name}}_status() {
    if running; then
        echo "{{name}} is running"
    else
        echo "{{name}} is not running"
        return 1
    fi
}

load_rc_config $name
: ${{{name}}_enable:=NO}
run_rc_command "$1"
