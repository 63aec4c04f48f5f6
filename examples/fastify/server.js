import Fastify from 'fastify';

const app = Fastify({ logger: { level: process.env.LOG_LEVEL || 'info' }, disableRequestLogging: true });

app.get('/', async () => `Hello from Fastify, process ${process.pid}\n`);
app.get('/health', async () => ({ status: 'ok' }));

// The polite signal: `close` waits for the requests under way and runs the `onClose` hooks of plugins.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    app.log.info(`${signal}: Fastify finishes`);
    await app.close();
    process.exit(0);
  });
}

await app.listen({ port: Number(process.env.PORT || 3000), host: process.env.HOST || '0.0.0.0' });
