#!/sbin/openrc-run
# Written by `{{program}} startup`; `{{program}} unstartup` removes it.

description="Process manager: starts the saved apps"
extra_started_commands="reload"

{{as_user}}
depend() {
    need localmount
    {{network}} net
    after bootmisc dns logger
}

start() {
    ebegin "Starting the saved apps"
    run resurrect
    eend $?
}

stop() {
    ebegin "Stopping all apps"
    run kill
    eend $?
}

reload() {
    ebegin "Replacing the daemon; apps keep running"
    run update
    eend $?
}

status() {
    if running; then
        einfo "status: started"
    else
        einfo "status: stopped"
        return 3
    fi
}
