module.exports = {
  apps: [{
    name: 'shop',
    script: 'app.js',
    instances: 'max', // as many as the container's CPU quota allows
    exec_mode: 'cluster',
    kill_timeout: 5000, // less than the time that the engine gives (10 s, in Kubernetes 30 s)
    env: { PORT: 3000 },
  }],
};
