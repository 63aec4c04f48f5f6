const port = Number(process.env.PORT || 8000);

module.exports = {
  apps: [
    {
      name: 'django',
      script: '.venv/bin/gunicorn',
      args: 'shop.wsgi:application',
      // Two gunicorns with the workers that gunicorn.conf.py names, on a socket that ostler opened and keeps.
      listen: port,
      instances: 2,

      // A reload stops an old gunicorn only when the new one has said READY=1.
      ready: 'notify',

      // Asked every 10 s: one that says no gets no new connections, after three times it is replaced.
      http: { path: '/health', interval: '10s' },

      // Time for the requests under way: on a reload, and after the polite signal (SIGTERM: gunicorn lets its workers finish).
      drain_timeout: '30s',
      kill_timeout: '15s',

      max_memory_restart: '500M',
      time: true,
      log_rotate: { max_size: '20M', retain: 5, compress: true },
    },
  ],
};
