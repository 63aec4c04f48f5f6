// Six services of a shop. Two hold no state and run as several instances behind one port; four keep state in memory, run timers or
// hold connections, and are single.
//
//   ostler start ecosystem.config.js                     development
//   ostler start ecosystem.config.js --env production    production
//
// SHOP_PORT moves all ports (30000–30005).
const path = require('path');

const base = Number(process.env.SHOP_PORT || 30000);

/** What all services share; `offset` is the place of its port. */
function service(name, offset, own = {}) {
  return {
    name,
    script: 'dist/main.js',
    cwd: path.join(__dirname, 'backend', name),

    // Single, unless it says otherwise below.
    instances: 1,
    exec_mode: 'fork',
    autorestart: true,
    watch: false,

    // Limits of resources and restarts.
    max_memory_restart: '1G',
    max_restarts: 10,
    min_uptime: '10s',

    // In service only after process.send('ready'); time to finish open requests on the way out.
    wait_ready: true,
    listen_timeout: 10000,
    kill_timeout: 5000,

    // Health check.
    http: { port: base + offset, path: '/health', expect_status: 200, interval: 30000, timeout: 5000 },

    // Logs, with the date in front of each line; the instances of a service share its two files.
    error_file: `./logs/${name}-error.log`,
    out_file: `./logs/${name}-out.log`,
    log_date_format: 'YYYY-MM-DD HH:mm:ss',
    merge_logs: true,

    env: { NODE_ENV: 'development', PORT: base + offset, BASE_PORT: base, LOG_LEVEL: 'debug' },
    env_staging: { NODE_ENV: 'staging', LOG_LEVEL: 'info' },
    env_production: { NODE_ENV: 'production', LOG_LEVEL: 'info' },
    ...own,
  };
}

module.exports = {
  apps: [
    service('api-gateway', 0, { instances: 4, exec_mode: 'cluster' }),
    service('user-service', 1, { instances: 2, exec_mode: 'cluster' }),
    service('device-service', 2),
    service('app-service', 3),
    service('billing-service', 4),
    service('notification-service', 5),
  ],
};
