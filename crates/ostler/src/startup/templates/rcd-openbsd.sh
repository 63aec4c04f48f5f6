#!/bin/ksh
#
# Written by `{{program}} startup`; `{{program}} unstartup` removes it.

{{as_user}}
if [ "$1" = as-user ]; then
    as_user "$2"
fi

daemon={{exe}}
daemon_timeout={{stop_seconds}}

. /etc/rc.d/rc.subr

rc_start() {
    run resurrect
}

rc_stop() {
    run kill
}

rc_reload() {
    run update
}

rc_check() {
    running
}

rc_cmd $1
