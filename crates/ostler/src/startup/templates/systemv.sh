#!/bin/sh
#
# Written by `{{program}} startup`; `{{program}} unstartup` removes it.
#
# chkconfig: 2345 98 02
# description: {{description}}
#
### BEGIN INIT INFO
# Provides:          {{name}}
# Required-Start:    $local_fs $remote_fs $network
# Required-Stop:     $local_fs $remote_fs $network
# Should-Start:      $named $time
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: {{description}}
### END INIT INFO

{{as_user}}
# On systems with this folder, the file makes the init system call stop at shutdown.
lock=/var/lock/subsys/{{name}}

case "$1" in
as-user)
    as_user "$2"
    ;;
start)
    run resurrect
    status=$?
    [ -d /var/lock/subsys ] && : >"$lock"
    exit $status
    ;;
stop)
    run kill
    status=$?
    rm -f "$lock"
    exit $status
    ;;
reload | force-reload)
    run update
    ;;
restart)
    # Replaces the daemon and the keeper; apps keep running.
    if running; then run update; else run resurrect; fi
    ;;
status)
    if running; then
        echo "{{name}} is running"
    else
        echo "{{name}} is not running"
        exit 3
    fi
    ;;
*)
    echo "usage: $0 {start|stop|restart|reload|status}" >&2
    exit 2
    ;;
esac
