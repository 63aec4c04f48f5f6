const port = Number(process.env.PORT || 3000);

module.exports = {
  apps: [
    {
      name: 'fastify',
      script: 'server.js',
      // Two workers behind one port. A reload starts each new one beside its predecessor: no request is lost.
      instances: 2,
      exec_mode: 'cluster',
      env: { NODE_ENV: 'production', PORT: port },

      // Asked every 10 s: one that says no gets no new connections, after three times it is replaced.
      http: { port, path: '/health', interval: '10s' },

      // Time for the requests under way: on a reload, and after the polite signal.
      drain_timeout: '30s',
      kill_timeout: '10s',

      max_memory_restart: '300M',
      time: true,
      log_rotate: { max_size: '20M', retain: 5, compress: true },
    },
  ],
};
