// The same app as an ES module.
import http from 'node:http';
import app from './app.cjs';

app.listen(http.createServer(app.answer), { port: 0, host: '127.0.0.1' });
