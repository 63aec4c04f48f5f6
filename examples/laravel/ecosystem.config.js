// Time for the requests under way: on a reload, and after the polite signal, which is SIGQUIT to both servers.
const ends = { kill_signal: 'SIGQUIT', drain_timeout: '30s', kill_timeout: '15s' };
const logs = { time: true, log_rotate: { max_size: '20M', retain: 5, compress: true } };

module.exports = {
  apps: [
    {
      name: 'php',
      script: 'php-fpm8.2',
      interpreter: 'none',
      args: '--nodaemonize --fpm-config php-fpm.conf --prefix .',
      // Two php-fpm with four workers each. They take over a socket that FPM_SOCKETS names, as they do from themselves on SIGUSR2.
      listen: '127.0.0.1:9000',
      instances: 2,
      env: { APP_ENV: 'production', FPM_SOCKETS: '127.0.0.1:9000={fd}' },
      // A reload stops an old process only when the new one has said READY=1.
      ready: 'notify',
      max_memory_restart: '500M',
      ...ends,
      ...logs,
    },
    {
      name: 'nginx',
      script: 'nginx',
      interpreter: 'none',
      args: '-p . -c nginx.conf -e stderr',
      listen: '0.0.0.0:8080',
      // nginx takes over the sockets that NGINX names, as from itself in an upgrade.
      env: { NGINX: '{fd};' },
      ready: { log: 'start worker process ' },
      depends_on: { php: 'ready' },
      // Asked every 10 s, through nginx and php-fpm: after three times no nginx is replaced, one that says no gets no new connections.
      http: { path: '/health', interval: '10s' },
      ...ends,
      ...logs,
    },
  ],
};
