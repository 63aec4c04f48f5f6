const port = Number(process.env.PORT || 8000);

module.exports = {
  apps: [
    {
      name: 'fastapi',
      script: '.venv/bin/uvicorn',
      // Each instance is one uvicorn process on the socket that ostler opened and keeps: instead of --host, --port and --workers.
      args: 'main:app --fd {fd} --timeout-graceful-shutdown 10',
      listen: port,
      instances: 2,
      env: { PYTHONUNBUFFERED: '1' },

      // A reload stops an old process only when the new one has said this.
      ready: { log: 'startup complete' },

      // Asked every 10 s: one that says no gets no new connections, after three times it is replaced.
      http: { path: '/health', interval: '10s' },

      // Time for the requests under way: on a reload, and after the polite signal.
      drain_timeout: '30s',
      kill_timeout: '15s',

      max_memory_restart: '300M',
      time: true,
      log_rotate: { max_size: '20M', retain: 5, compress: true },
    },
  ],
};
