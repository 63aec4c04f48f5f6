// The file of an app that began with PM2 on one machine, and what else runs it now.
module.exports = {
  apps: [{
    name: 'myapp',
    script: './dist/main.js',
    instances: { min: 2, max: 10, cpu: 70 },
    exec_mode: 'cluster',
    env: { NODE_ENV: 'development', PORT: 3000 },
    env_production: { NODE_ENV: 'production', PORT: 8080, DATABASE_URL: 'postgres://shop:secret@db:5432/shop' },
    http: { path: '/health', interval: '10s' },
    max_memory_restart: '400M',
    cpu_quota: 100,
    kill_timeout: '10s',
    jobs: [{ name: 'clean', cron: '30 3 * * *', command: 'node dist/clean.js', timezone: 'Europe/Berlin' }],
  }],
};
