const port = Number(process.env.PORT || 8080);

module.exports = {
  apps: [
    {
      name: 'go',
      script: './hello',
      // Two processes on a socket that ostler opened and keeps; each gets it as descriptor 3.
      listen: port,
      instances: 2,

      // A reload stops an old process only when the new one has said this.
      ready: { log: 'Go listens' },

      // Asked every 10 s: one that says no gets no new connections, after three times it is replaced.
      http: { path: '/health', interval: '10s' },

      // Time for the requests under way: on a reload, and after the polite signal.
      drain_timeout: '30s',
      kill_timeout: '15s',

      max_memory_restart: '200M',
      time: true,
      log_rotate: { max_size: '20M', retain: 5, compress: true },
    },
  ],
};
