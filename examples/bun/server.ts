import { Hono } from 'hono';

const app = new Hono();
app.get('/', (context) => context.text(`Hello from Bun, process ${process.pid}\n`));
app.get('/health', (context) => context.json({ status: 'ok' }));

const server = Bun.serve({
  port: Number(process.env.PORT || 3000),
  // Bun takes no socket from outside: each instance opens the port itself, beside the others.
  reusePort: true,
  fetch: app.fetch,
});
console.log(`Bun listens on port ${server.port}`);

// The polite signal: `stop` takes no new connections and waits for the requests under way.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, async () => {
    console.log(`${signal}: Bun finishes`);
    await server.stop();
    process.exit(0);
  });
}
