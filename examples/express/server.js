const express = require('express');

const app = express();
app.disable('x-powered-by');
app.get('/', (req, res) => res.send(`Hello from Express, process ${process.pid}\n`));
app.get('/health', (req, res) => res.json({ status: 'ok' }));

const port = Number(process.env.PORT || 3000);
const server = app.listen(port, (error) => {
  if (error) throw error;
  console.log(`Express listens on port ${port}`);
});

// The polite signal: finish what is under way, then go. New connections go to the other instances already.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    console.log(`${signal}: Express finishes`);
    server.close(() => process.exit(0));
  });
}
