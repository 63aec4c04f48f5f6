# No `bind`: gunicorn finds the socket that ostler opened by LISTEN_FDS, and says READY=1 when its workers are there.
workers = 2
graceful_timeout = 10
accesslog = None


def on_exit(server):
    server.log.info("Django finishes")
