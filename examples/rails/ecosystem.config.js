const port = Number(process.env.PORT || 3000);

module.exports = {
  apps: [
    {
      name: 'rails',
      script: 'bundle',
      args: 'exec puma -C config/puma.rb --bind-to-activated-sockets only',
      interpreter: 'none',
      // Two pumas on a socket that ostler opened and keeps, instead of Puma's own workers.
      listen: port,
      instances: 2,
      env: { RAILS_ENV: 'production' },

      // A reload stops an old Puma only when the new one has said this.
      ready: { log: 'Use Ctrl-C to stop' },

      // Asked every 10 s: one that says no gets no new connections, after three times it is replaced.
      http: { path: '/health', interval: '10s' },

      // Time for the requests under way: on a reload, and after the polite signal.
      drain_timeout: '30s',
      kill_timeout: '15s',

      max_memory_restart: '500M',
      time: true,
      log_rotate: { max_size: '20M', retain: 5, compress: true },
    },
  ],
};
