// Two services: `api` waits until `store` is healthy. Variables set the differences, so that a
// release can be made bad.
module.exports = {
  apps: [
    {
      name: 'api', script: 'server.js', depends_on: { store: 'healthy' }, kill_timeout: '10s', listen_timeout: '20s',
      env: { PORT: 8080, STORE: 'http://store:7000/' }, http: { path: '/health', interval: '1s' }, memory_max: '200M', cpu_quota: 50,
    },
    { name: 'store', script: 'server.js', kill_timeout: '5s', env: { PORT: 7000, SLOW_START: 2000 }, http: { path: '/health', interval: '1s' } },
  ],
};
