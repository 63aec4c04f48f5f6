# The socket comes from ostler (`--bind-to-activated-sockets only`); without it PORT is opened.
port ENV.fetch('PORT', 3000) unless ENV['LISTEN_FDS']
environment ENV.fetch('RAILS_ENV', 'development')
threads_count = ENV.fetch('RAILS_MAX_THREADS', 3).to_i
threads threads_count, threads_count
# How long requests under way may take when it ends.
force_shutdown_after 10
