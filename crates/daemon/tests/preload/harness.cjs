// What the scenarios need: an app under a fake manager (Node's own IPC and cluster primary speak the same protocol), and clients.
'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const cluster = require('node:cluster');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const net = require('node:net');
const tls = require('node:tls');
const { spawn } = require('node:child_process');

const { PRELOAD } = process.env; // as main.rs has written it
const CA = fs.readFileSync(`${__dirname}/localhost.pem`);
const running = new Set();
process.on('exit', (code) => {
  for (const { child, text } of running) {
    child.kill('SIGKILL');
    if (code !== 0) console.error(text);
  }
});

/** A process with the preload, and what it said. */
class App {
  constructor(child) {
    this.child = child;
    this.drained = 0;
    this.text = { stdout: '', stderr: '' };
    running.add(this);
    for (const name of ['stdout', 'stderr']) child[name]?.setEncoding('utf8').on('data', (text) => (this.text[name] += text));
    child.on('internalMessage', (message) => {
      if (message.cmd !== 'NODE_OSTLER') return;
      const { cmd, act, ...counted } = message;
      if (act === 'runs') {
        assert.equal(this.runs, undefined, 'said once');
        this.runs = true;
        return;
      }
      if (act === 'figures') {
        this.figures = counted.figures;
        child.emit('figures');
        return;
      }
      this.left = counted;
      if (act === 'open') {
        assert.deepEqual(Object.keys(counted), ['requests', 'lasting']);
        return;
      }
      assert.deepEqual([act, Object.keys(counted)], ['drained', ['lasting']]);
      this.drained += 1;
      child.emit('drained');
    });
    // Not 'close', which never comes when we have disconnected.
    const streams = [child.stdout, child.stderr].map((stream) => stream && once(stream, 'close'));
    this.ended = Promise.all([once(child, 'exit'), ...streams]).then(([[code, signal]]) => {
      running.delete(this);
      return signal ?? code;
    });
  }

  /** Sends a word to the app and gives its answer. */
  async ask(word) {
    const answer = once(this.child, 'message');
    this.child.send(word);
    return (await answer)[0];
  }

  /** Waits for an internal message. */
  async says(condition) {
    for (;;) {
      const [message] = await once(this.child, 'internalMessage');
      if (condition(message)) return;
    }
  }

  drain(options = {}) {
    this.child.send({ cmd: 'NODE_OSTLER', act: 'drain', stop_listening: false, idle_ms: 100, ...options });
  }

  async untilDrained() {
    if (this.drained === 0) await once(this.child, 'drained');
    return this;
  }

  /** Ends an app, which has to have been silent: neither warnings nor traces. */
  async stop() {
    this.child.kill('SIGTERM');
    await this.ended;
    assert.equal(this.text.stderr, '');
  }
}

function environment(settings) {
  const variable = settings && { OSTLER_PRELOAD: typeof settings === 'string' ? settings : JSON.stringify({ ...settings, debug: true }) };
  return { ...process.env, ...variable, NODE_OPTIONS: '--trace-deprecation' };
}

/** Starts a program beside this file as ostler does in fork mode. */
function run(words, { settings = {}, stdio = ['ignore', 'pipe', 'pipe', 'ipc'] } = {}) {
  const [file, ...rest] = words;
  return new App(spawn(process.execPath, ['--require', PRELOAD, `${__dirname}/${file}`, ...rest], { stdio, env: environment(settings) }));
}

/** Starts a server and waits until it listens. */
async function serve(words, options) {
  const app = run(words, options);
  const [{ listening }] = await once(app.child, 'message');
  return Object.assign(app, { port: listening });
}

/** Starts so many workers of a server, by round robin or with a shared socket. */
async function serveCluster(count, policy, words) {
  const [file, ...args] = words;
  cluster.schedulingPolicy = cluster[policy];
  cluster.setupPrimary({ exec: `${__dirname}/${file}`, args, execArgv: ['--require', PRELOAD], silent: true });
  const start = async () => {
    const worker = cluster.fork(environment({}));
    const app = new App(worker.process);
    const [{ listening }] = await once(worker, 'message');
    return Object.assign(app, { port: listening });
  };
  return Promise.all(Array.from({ length: count }, start));
}

/** One request; `head` counts from the moment the answer begins. */
function get(port, path, { agent, protocol = http } = {}) {
  return new Promise((resolve, reject) => {
    const request = protocol.get({ host: '127.0.0.1', servername: 'localhost', port, path, agent, ca: CA }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text) => (body += text));
      response.on('error', reject).on('end', () => resolve({ ...response, headers: response.headers, rawHeaders: response.rawHeaders, body }));
    });
    request.on('error', reject);
  });
}

/** Clients that ask again and again on connections they keep. */
class Load {
  constructor(port, path, { clients = 8, protocol = http } = {}) {
    this.agent = new protocol.Agent({ keepAlive: true, maxSockets: clients });
    this.answers = new Map();
    this.failures = [];
    this.going = true;
    this.clients = Array.from({ length: clients }, () => this.#ask(port, path, protocol));
  }

  async #ask(port, path, protocol) {
    while (this.going) {
      try {
        const { body } = await get(port, path, { agent: this.agent, protocol });
        this.answers.set(body, (this.answers.get(body) ?? 0) + 1);
      } catch (error) {
        this.failures.push(error);
      }
    }
  }

  get count() {
    return [...this.answers.values()].reduce((sum, one) => sum + one, 0);
  }

  /** Waits for so many more answers. */
  async more(count) {
    const enough = this.count + count;
    await until(() => this.count >= enough || this.failures.length > 0);
  }

  async end() {
    this.going = false;
    await Promise.all(this.clients);
    this.agent.destroy();
    assert.deepEqual(this.failures, []);
  }
}

/** A connection of raw bytes. */
class Raw {
  constructor(port, first, { secure = false } = {}) {
    this.text = '';
    this.ended = false;
    const way = { port, host: '127.0.0.1', servername: 'localhost', ca: CA };
    this.socket = secure ? tls.connect(way) : net.connect(port.path ?? port, '127.0.0.1');
    this.socket.setEncoding('latin1').on('data', (text) => (this.text += text));
    this.socket.on('end', () => (this.ended = true));
    this.open = once(this.socket, 'connect');
    if (first) this.socket.write(first);
  }

  async says(text) {
    await until(() => this.text.includes(text) || this.ended);
    assert.ok(this.text.includes(text), `${JSON.stringify(text)} in ${JSON.stringify(this.text)}`);
    return this;
  }

  async end() {
    await until(() => this.ended);
  }
}

/** Waits for a condition; the deadline of the whole scenario is its own. */
async function until(condition) {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 2));
}

module.exports = { App, Load, PRELOAD, Raw, get, http, https, run, serve, serveCluster, until, CA };
