// `node scenarios.cjs <name>`: one promise of the preload each. main.rs runs them on every version of Node.
'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const http2 = require('node:http2');
const net = require('node:net');
const os = require('node:os');
const tls = require('node:tls');
const { CA, Load, Raw, get, http, https, run, serve, serveCluster, until } = require('./harness.cjs');

const REQUEST = (path) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
const COOKIE = { cookie: { name: 'ostler', worker: 3 } };

/** Drains one of two workers under load, as a reload does, and sees it end by itself. */
async function drainUnderLoad(policy, words, path, protocol) {
  const [old, other] = await serveCluster(2, policy, words);
  const load = new Load(old.port, path, { protocol });
  await load.more(50);
  old.drain({ stop_listening: true });
  await old.untilDrained();
  old.child.send({ cmd: 'NODE_CLUSTER', act: 'disconnect' });
  assert.equal(await old.ended, 0);
  await load.more(50);
  await load.end();
  assert.equal(old.drained, 1);
  assert.equal(old.text.stderr, '');
  await other.stop();
}

/** Waits until nobody listens there. */
async function untilRefused(port) {
  await until(async () => (await get(port, '/').catch(({ code }) => code)) === 'ECONNREFUSED');
}

function h2Connect(kind, port) {
  return http2.connect(`${kind === 'h2' ? 'https' : 'http'}://localhost:${port}`, { ca: CA });
}

async function h2Get(session, path) {
  const stream = session.request({ ':path': path });
  let body = '';
  stream.setEncoding('utf8').on('data', (text) => (body += text));
  await once(stream, 'end');
  return body;
}

/** Sessions at rest and at work end, the work is done, and who comes later is told as well. */
async function drainHttp2(kind) {
  const app = await serve(['app.cjs', kind]);
  const [idle, busy] = [h2Connect(kind, app.port), h2Connect(kind, app.port)];
  assert.equal(await h2Get(idle, '/'), 'ok');
  const slow = h2Get(busy, '/slow?ms=500');
  const stream = h2Get(busy, '/stream?ms=500');
  assert.equal(await h2Get(busy, '/'), 'ok');
  const gone = [idle, busy].map((session) => once(session, 'close'));
  const goaway = once(busy, 'goaway');
  app.drain({ idle_ms: 300 });
  // What is on its way is still taken.
  const [code, last] = await goaway;
  assert.deepEqual([code, last], [0, 2 ** 31 - 1]);
  const late = h2Connect(kind, app.port);
  const lateIsGone = once(late, 'close');
  assert.equal(await h2Get(late, '/'), 'ok');
  assert.equal(app.drained, 0);
  assert.equal(await slow, 'slow');
  assert.equal(await stream, 'begin end');
  await Promise.all([...gone, lateIsGone]);
  await app.untilDrained();
  await app.stop();
}

/** A client that stays when it is told to go, and has never asked for anything. */
async function drainStubbornHttp2(kind) {
  const app = await serve(['app.cjs', kind]);
  const first = h2Connect(kind, app.port);
  assert.equal(await h2Get(first, '/'), 'ok');
  const stubborn = kind === 'h2' ? tls.connect({ port: app.port, ca: CA, servername: 'localhost', ALPNProtocols: ['h2'] }) : net.connect(app.port);
  stubborn.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1');
  await once(stubborn, 'data');
  app.drain();
  stubborn.resume();
  await once(stubborn, 'end');
  await app.untilDrained();
  await app.stop();
}

const scenarios = {
  // ---- start

  async a_start_leaves_no_trace() {
    for (const settings of ['{}', '{"cookie', 'null', '7', '""', '{"cookie":7,"sync":{}}', '{"cookie":{"name":"a\\r\\nb","worker":1}}']) {
      const app = run(['traces.cjs'], { settings });
      const [seen] = await once(app.child, 'message');
      assert.deepEqual(seen, { execArgv: [], argv: 2, isMain: true, variable: null, fork: [], thread: null, listeners: 0 });
      // Nothing of ours keeps a process: it ends as soon as it has nothing to do.
      assert.equal(await app.ended, 0);
      assert.deepEqual(app.text, { stdout: '', stderr: '' });
    }
  },

  async a_process_without_settings_is_left_alone() {
    const app = await serve(['app.cjs', 'http'], { settings: null });
    app.drain();
    await app.ask('address');
    const kept = new Raw(app.port, REQUEST('/'));
    await kept.says('keep-alive');
    assert.equal(app.drained, 0);
    kept.socket.destroy();
    await app.stop();
  },

  // ---- exceptions

  async an_exception_is_reported_and_the_app_ends_as_ever() {
    for (const [kind, expected] of [
      ['error', { name: 'DbError', message: 'no row 7' }],
      ['rejection', { name: 'RangeError', message: 'no row 7' }],
      ['text', { name: 'Error', message: 'no row 7' }],
      ['hostile', undefined],
      ['caught', { name: 'DbError', message: 'no row 7' }],
      ['handled', undefined],
      ['disconnected', undefined],
      ['pm2', undefined],
    ]) {
      const [plain, app] = [run(['throws.cjs', kind], { settings: null }), run(['throws.cjs', kind], { settings: '{}' })];
      let said;
      app.child.on('message', (message) => (said = message));
      assert.equal(await app.ended, await plain.ended, kind);
      assert.deepEqual(app.text, plain.text, kind);
      if (expected === undefined) {
        assert.equal(said, undefined, kind);
        continue;
      }
      const { stack, ...rest } = said.data;
      assert.deepEqual([said.type, rest], ['process:exception', expected], kind);
      if (kind !== 'text') assert.match(stack, /throws\.cjs:\d+/);
    }
  },

  // ---- figures

  async nothing_is_measured_unless_it_is_asked_for() {
    const app = await serve(['measured.cjs']);
    const off = await app.ask('look');
    assert.equal((await get(app.port, '/')).body, 'ok');
    app.child.send({ cmd: 'NODE_OSTLER', act: 'collect', for_ms: 60000 });
    await once(app.child, 'figures');
    const on = await app.ask('look');
    assert.deepEqual([off.channels, on.channels], [[false, false], [true, true]]);
    assert.ok(on.timers > off.timers, `${on.timers} ${off.timers}`);
    // It ends by itself, and nothing is left.
    app.child.send({ cmd: 'NODE_OSTLER', act: 'collect', for_ms: 1 });
    await until(async () => (await app.ask('look')).channels.every((has) => !has));
    assert.deepEqual(await app.ask('look'), off);
    app.figures = undefined;
    for (const odd of [{}, { for_ms: 'x' }, { for_ms: -1 }, { for_ms: null }, { for_ms: {} }]) app.child.send({ cmd: 'NODE_OSTLER', act: 'collect', ...odd });
    assert.deepEqual(await app.ask('look'), off);
    await app.stop();
  },

  async figures_are_those_of_the_requests() {
    const app = await serve(['measured.cjs']);
    app.child.send({ cmd: 'NODE_OSTLER', act: 'collect', for_ms: 60000 });
    // Answered once it measures.
    await app.ask('look');
    const agent = new http.Agent({ keepAlive: true });
    for (let n = 0; n < 40; n++) await get(app.port, `/orders/${n}?q=${n}`, { agent });
    for (let n = 0; n < 8; n++) await get(app.port, '/fails', { agent });
    for (let n = 0; n < 2; n++) await get(app.port, '/slow', { agent });
    for (let n = 0; n < 200; n++) await get(app.port, `/w${'abcdefghij'[n % 10]}${'klmnopqrst'[Math.floor(n / 10) % 10]}${n < 100 ? 'x' : 'y'}`, { agent });
    await until(() => app.figures && app.figures.requests === 250);
    const { figures } = app;
    assert.equal(figures.failed, 8);
    assert.ok(figures.rate > 0 && Math.abs(figures.failed_share - 8 / 250) < 0.001, JSON.stringify(figures));
    const route = (name) => figures.routes.find((one) => one.route === name);
    assert.deepEqual([route('GET /orders/:id').requests, route('GET /fails').failed, figures.routes.length], [40, 8, 100]);
    assert.equal(figures.routes.reduce((sum, one) => sum + one.requests, 0), 250);
    // Both have waited for 100 ms.
    const { p50, p95, p99 } = route('GET /slow');
    assert.ok(p50 > 0 && p50 <= p95 && p95 <= p99, JSON.stringify(route('GET /slow')));
    assert.ok(route('GET /slow').p95 >= 0.09 && figures.p50 < figures.p99 + 1e-9 && figures.p50 > 0, JSON.stringify(figures));
    assert.ok(figures.heap_used > 1e6 && figures.heap_total >= figures.heap_used && figures.loop_use >= 0 && figures.loop_use <= 1 && figures.handles > 0);
    agent.destroy();
    await app.stop();
  },

  async much_garbage_is_heard_of_in_a_part_of_the_time() {
    const app = await serve(['measured.cjs']);
    app.child.send({ cmd: 'NODE_OSTLER', act: 'collect', for_ms: 60000 });
    await app.ask('litter');
    // What is told, and what the app itself has heard.
    const seconds = async () => {
      await once(app.child, 'figures');
      const { seconds, count, heard } = (await app.ask('look')).collected;
      return { told: app.figures.gc_seconds, at: app.figures.seconds, seconds, count, heard };
    };
    const before = await seconds();
    // A busy machine collects less often: wait for many collections, however many reports that takes.
    let [after, reports] = [before, 1];
    for (; after.count - before.count < 200; reports += 1) after = await seconds();
    const [told, real] = [after.told - before.told, after.seconds - before.seconds];
    // Some twenty between two reports, from the first one on: a load that comes in bursts has quiet reports between loud ones.
    // On a busy machine there are hardly more.
    const most = Math.max(after.count / 2, 25 * reports);
    assert.ok(after.heard > 0 && after.heard < 50 * reports && after.heard < most, `${after.heard} heard of ${after.count} in ${reports} reports`);
    assert.ok(real > 0 && told > real / 3 && told < real * 3, `${told} of ${real}`);
    await app.stop();
  },

  async garbage_of_a_burst_is_not_that_of_the_quiet_time_after_it() {
    const app = await serve(['measured.cjs']);
    app.child.send({ cmd: 'NODE_OSTLER', act: 'collect', for_ms: 60000 });
    // The burst begins with the time of a report.
    await once(app.child, 'figures');
    const before = app.figures.gc_seconds;
    await app.ask('litter a little');
    await once(app.child, 'figures');
    await once(app.child, 'figures');
    const { seconds, count } = (await app.ask('look')).collected;
    const told = app.figures.gc_seconds - before;
    assert.ok(count >= 60, `${count} collections`);
    assert.ok(told > seconds / 3 && told < seconds * 3, `${told} of ${seconds}`);
    await app.stop();
  },

  // ---- output

  async output_before_exit_is_whole() {
    for (const name of ['stdout', 'stderr']) {
      const app = run(['output.cjs', name], { settings: { sync: true } });
      const from = app.child[name];
      // A reader that is slower than the writer.
      from.on('data', () => {
        from.pause();
        setTimeout(() => from.resume(), 1);
      });
      assert.equal(await app.ended, 1);
      const lines = app.text[name].split('\n');
      assert.equal(lines.length, 20_001);
      lines.slice(0, -1).forEach((line, number) => assert.ok(line.startsWith(`line ${number} `)));
    }
  },

  // ---- sticky sessions

  async a_client_gets_the_cookie_of_its_worker() {
    const app = await serve(['app.cjs', 'http'], { settings: COOKIE });
    const ours = 'ostler=3; Path=/; HttpOnly; SameSite=Lax';
    assert.deepEqual((await get(app.port, '/')).headers['set-cookie'], [ours]);
    for (const path of ['/set', '/object', '/reason', '/array', '/both', '/append']) {
      const { headers, rawHeaders, body } = await get(app.port, path);
      assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2', ours], path);
      assert.equal(body, 'ok');
      if (path === '/array') assert.equal(rawHeaders.filter((name) => name === 'X-Same').length, 2);
    }
    await app.stop();
  },

  async a_client_with_the_cookie_gets_none() {
    const app = await serve(['app.cjs', 'http'], { settings: COOKIE });
    const ask = async (cookie) => {
      const raw = new Raw(app.port, `GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: ${cookie}\r\n\r\n`);
      await raw.end();
      return raw.text.includes('Set-Cookie: ostler=3;');
    };
    assert.equal(await ask('ostler=3'), false);
    assert.equal(await ask('a=b; ostler=3;c=d'), false);
    assert.equal(await ask('ostler=4'), true);
    assert.equal(await ask('my-ostler=3; ostler=33'), true);
    await app.stop();
  },

  async a_drain_and_the_cookie_go_together() {
    const app = await serve(['app.cjs', 'http'], { settings: COOKIE });
    app.drain();
    await app.untilDrained();
    const { headers } = await get(app.port, '/array');
    assert.deepEqual([headers['set-cookie'].length, headers.connection], [3, 'close']);
    await app.stop();
  },

  async a_client_with_the_cookie_has_time_for_its_next_request() {
    const app = await serve(['app.cjs', 'http'], { settings: COOKIE });
    const ask = () => get(app.port, '/', { agent: new http.Agent({ keepAlive: false }) });
    await ask();
    app.drain({ idle_ms: 1500 });
    const begun = Date.now();
    await until(() => Date.now() - begun >= 100);
    assert.deepEqual([(await ask()).body, app.drained], ['ok', 0]);
    // A client that goes on asking does not hold up the drain without end.
    while (app.drained === 0) await ask();
    assert.ok(Date.now() - begun >= 2900);
    await app.stop();
  },

  // ---- drain

  round_robin_under_load: () => drainUnderLoad('SCHED_RR', ['app.cjs', 'http'], '/'),
  round_robin_under_load_of_30_ms: () => drainUnderLoad('SCHED_RR', ['app.cjs', 'http'], '/slow?ms=30'),
  round_robin_under_load_that_streams: () => drainUnderLoad('SCHED_RR', ['app.cjs', 'http'], '/stream?ms=30'),
  round_robin_under_load_with_own_keep_alive: () => drainUnderLoad('SCHED_RR', ['app.cjs', 'http'], '/array'),
  round_robin_under_load_es_module: () => drainUnderLoad('SCHED_RR', ['app.mjs'], '/slow?ms=30'),
  round_robin_under_load_https: () => drainUnderLoad('SCHED_RR', ['app.cjs', 'https'], '/slow?ms=30', https),
  shared_socket_under_load: () => drainUnderLoad('SCHED_NONE', ['app.cjs', 'http'], '/slow?ms=30'),
  http2: () => drainHttp2('h2'),
  http2_without_tls: () => drainHttp2('h2c'),
  http2_stubborn: () => drainStubbornHttp2('h2'),
  http2_stubborn_without_tls: () => drainStubbornHttp2('h2c'),

  async nobody_connected_is_drained_at_once() {
    const app = await serve(['app.cjs', 'http']);
    app.drain({ idle_ms: 60_000 });
    await app.untilDrained();
    // A daemon that died meanwhile asks again.
    app.drain();
    await until(() => app.drained === 2);
    assert.equal((await app.ask('address')).listening, true);
    await app.stop();
  },

  async each_response_says_close() {
    const app = await serve(['app.cjs', 'http']);
    const held = new Raw(app.port, REQUEST('/slow?ms=60000'));
    await held.open;
    app.drain({ idle_ms: 60_000 });
    const agent = new http.Agent({ keepAlive: true });
    const closes = async () => (await get(app.port, '/', { agent })).headers.connection === 'close';
    await until(closes);
    for (const path of ['/', '/set', '/object', '/reason', '/array', '/both', '/append', '/slow?ms=10', '/stream?ms=10']) {
      const raw = new Raw(app.port, REQUEST(path));
      await raw.end();
      const heads = raw.text.match(/^(connection|keep-alive): [^\r]*/gim);
      assert.deepEqual(heads, ['Connection: close'], path);
    }
    held.socket.destroy();
    await app.untilDrained();
    await app.stop();
  },

  async an_old_connection_ends_with_its_next_response() {
    for (const kind of ['http', 'https']) {
      const protocol = kind === 'http' ? http : https;
      const app = await serve(['app.cjs', kind], { settings: { age_ms: 300, ...COOKIE } });
      for (const path of ['/', '/set', '/array', '/slow?ms=10', '/stream?ms=10']) {
        const agent = new protocol.Agent({ keepAlive: true, maxSockets: 1 });
        const begun = Date.now();
        const ask = async () => (await get(app.port, path, { agent, protocol })).headers;
        assert.equal((await ask()).connection.toLowerCase(), 'keep-alive', path);
        let headers;
        await until(async () => (headers = await ask()).connection === 'close');
        assert.ok(Date.now() - begun >= 300, path);
        assert.ok(headers['set-cookie'].some((cookie) => cookie.startsWith('ostler=3')), path);
        // The next connection is young again.
        assert.equal((await ask()).connection.toLowerCase(), 'keep-alive', path);
        agent.destroy();
      }
      assert.equal(app.drained, 0);
      await app.stop();
    }
  },

  async an_old_session_of_http2_goes_away() {
    for (const kind of ['h2', 'h2c']) {
      const app = await serve(['app.cjs', kind], { settings: { age_ms: 300 } });
      const session = h2Connect(kind, app.port);
      const [goaway, gone] = [once(session, 'goaway'), once(session, 'close')];
      const begun = Date.now();
      assert.equal(await h2Get(session, '/'), 'ok');
      const slow = h2Get(session, '/slow?ms=2000');
      const [code, last] = await goaway;
      assert.deepEqual([code, last, Date.now() - begun >= 290], [0, 2 ** 31 - 1, true]);
      assert.equal(await slow, 'slow', 'what is under way is finished');
      await gone;
      const next = h2Connect(kind, app.port);
      assert.equal(await h2Get(next, '/'), 'ok');
      next.close();
      await app.stop();
    }
  },

  async requests_under_way_are_finished() {
    const app = await serve(['app.cjs', 'http']);
    const slow = new Raw(app.port, REQUEST('/slow?ms=500'));
    const stream = new Raw(app.port, REQUEST('/stream?ms=500'));
    // When the stream has begun the slow request, which was sent before, is under way too.
    await stream.says('begin');
    app.drain();
    await slow.end();
    await stream.end();
    assert.match(slow.text, /\r\nConnection: close\r\n[^]*slow$/);
    // It had said keep-alive before, so its client got the time that an idle connection gets.
    assert.match(stream.text, /\r\nConnection: keep-alive\r\n[^]*end\r\n0\r\n\r\n$/);
    await app.untilDrained();
    await app.stop();
  },

  async idle_connections_are_closed_after_their_time() {
    // Node 18 has no list of the HTTP/1 connections of an HTTP/2 server.
    for (const kind of process.version.startsWith('v18') ? ['http', 'https'] : ['http', 'https', 'h2']) {
      const app = await serve(['app.cjs', kind]);
      const protocol = kind === 'http' ? http : https;
      const agent = new protocol.Agent({ keepAlive: true });
      assert.equal((await get(app.port, '/', { agent, protocol })).headers.connection, 'keep-alive');
      const silent = new Raw(app.port);
      await silent.open;
      const shaken = kind === 'http' ? undefined : tls.connect({ port: app.port, ca: CA, servername: 'localhost', ALPNProtocols: ['http/1.1'] });
      if (shaken) await once(shaken, 'secureConnect');
      const from = process.uptime();
      app.drain({ idle_ms: 300 });
      await app.untilDrained();
      assert.ok(process.uptime() - from >= 0.3);
      await silent.end();
      await app.stop();
    }
  },

  async a_request_that_has_begun_to_arrive_is_answered() {
    const app = await serve(['app.cjs', 'http']);
    const first = new Raw(app.port, 'GET / HT');
    const second = new Raw(app.port, `${REQUEST('/')}GET / HTTP/1.1\r\nHo`);
    await second.says('ok');
    const idle = new Raw(app.port, REQUEST('/'));
    await idle.says('ok');
    app.drain();
    await idle.end();
    assert.deepEqual([first.ended, second.ended], [false, false]);
    first.socket.write('TP/1.1\r\nHost: x\r\n\r\n');
    second.socket.write('st: x\r\n\r\n');
    await first.end();
    await second.end();
    for (const { text } of [first, second]) assert.match(text, /Connection: close\r\n[^]*ok$/);
    await app.untilDrained();
    await app.stop();
  },

  async a_client_that_asks_in_time_is_not_cut_off() {
    const app = await serve(['app.cjs', 'http']);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    await get(app.port, '/', { agent });
    const idle = new Raw(app.port, REQUEST('/'));
    await idle.says('ok');
    app.drain({ idle_ms: 2_000 });
    const { headers } = await get(app.port, '/', { agent });
    // The drain may be read after the request, yet never later than the next one.
    if (headers.connection !== 'close') assert.equal((await get(app.port, '/', { agent })).headers.connection, 'close');
    idle.socket.destroy();
    await app.untilDrained();
    await app.stop();
  },

  async upgraded_and_raw_connections_are_left_alone() {
    for (const kind of ['http', 'tcp']) {
      const app = await serve(['app.cjs', kind]);
      const raw = new Raw(app.port, kind === 'tcp' ? 'hello' : 'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
      await raw.says(kind === 'tcp' ? 'hello' : '101 Switching');
      const other = kind === 'tcp' ? undefined : new Raw(app.port, REQUEST('/'));
      await other?.says('ok');
      app.drain({ idle_ms: 50 });
      await other?.end();
      for (const word of ['one', 'two', 'three']) {
        raw.socket.write(word);
        await raw.says(word);
      }
      assert.equal(raw.ended, false);
      raw.socket.end();
      await app.untilDrained();
      await app.stop();
    }
  },

  async what_only_the_app_can_end_is_not_waited_for() {
    const upgrade = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n';
    for (const [kind, words, answer] of [
      ['http', upgrade, '101 Switching'],
      ['https', upgrade, '101 Switching'],
      ['http', REQUEST('/events'), 'data: one'],
      ['http', REQUEST('/events/set'), 'data: one'],
      ['https', REQUEST('/events'), 'data: one'],
      ['h2', REQUEST('/events'), 'data: one'],
      ['tcp', 'hello', 'hello'],
    ]) {
      // It has no list of such connections.
      if (kind === 'h2' && process.version.startsWith('v18.')) continue;
      const app = await serve(['app.cjs', kind]);
      const secure = kind === 'https' || kind === 'h2';
      const lasting = new Raw(app.port, words, { secure });
      await lasting.says(answer);
      const slow = kind === 'tcp' ? undefined : new Raw(app.port, REQUEST('/slow?ms=400'), { secure });
      await slow?.open;
      const resting = kind === 'tcp' ? undefined : new Raw(app.port, REQUEST('/'), { secure });
      await resting?.says('ok');
      app.drain({ idle_ms: 50 });
      if (slow) {
        await until(() => app.left?.requests === 1 && app.left.lasting === 1);
        assert.equal(app.drained, 0);
        await slow.says('slow');
        assert.match(slow.text, /Connection: close/i);
      }
      await app.untilDrained();
      assert.deepEqual([app.left, lasting.ended], [{ lasting: 1 }, false], `${kind} ${words}`);
      lasting.socket.destroy();
      await app.stop();
    }
  },

  async streams_of_events_over_http2_are_not_waited_for() {
    for (const kind of ['h2', 'h2c']) {
      const app = await serve(['app.cjs', kind]);
      const session = h2Connect(kind, app.port);
      const events = session.request({ ':path': '/events' });
      await once(events, 'data');
      const slow = h2Get(session, '/slow?ms=300');
      assert.equal(await h2Get(session, '/'), 'ok');
      app.drain({ idle_ms: 50 });
      await until(() => app.left?.requests === 1);
      assert.equal(await slow, 'slow');
      await app.untilDrained();
      assert.deepEqual([app.left, session.destroyed], [{ lasting: 1 }, false]);
      events.on('error', () => {});
      session.on('error', () => {}).destroy();
      await app.stop();
    }
  },

  async a_server_that_stops_to_listen_looks_as_before() {
    for (const policy of [undefined, 'SCHED_RR', 'SCHED_NONE']) {
      const [app] = policy ? await serveCluster(1, policy, ['app.cjs', 'http']) : [await serve(['app.cjs', 'http'])];
      const before = await app.ask('address');
      const stream = new Raw(app.port, REQUEST('/stream?ms=300'));
      await stream.says('begin');
      // A worker tells its primary, who keeps the socket.
      const closed = policy ? app.says((message) => message.act === 'close') : untilRefused(app.port);
      app.drain({ stop_listening: true });
      await closed;
      assert.deepEqual(await app.ask('address'), before);
      // The app's own way to stop sees no error and waits for the last client, as always.
      app.child.send('close');
      assert.equal(await app.ended, 0);
      assert.match(stream.text, /end\r\n0\r\n\r\n$/);
      assert.equal(app.text.stderr, '');
    }
  },

  async a_process_that_stops_to_listen_stays_until_told() {
    const app = await serve(['app.mjs']);
    app.drain({ stop_listening: true });
    await app.untilDrained();
    await untilRefused(app.port);
    app.drain();
    await until(() => app.drained === 2);
    await app.stop();
  },

  async a_socket_file_is_not_removed() {
    const path = `${fs.mkdtempSync(`${os.tmpdir()}/ostler-`)}/app.sock`;
    const app = await serve(['app.cjs', 'http', path]);
    app.drain({ stop_listening: true });
    await app.untilDrained();
    const raw = new Raw({ path }, REQUEST('/'));
    await raw.end();
    assert.match(raw.text, /Connection: close/);
    await app.stop();
    fs.rmSync(path.replace('/app.sock', ''), { recursive: true });
  },

  async a_closed_channel_harms_nobody() {
    const app = await serve(['app.mjs']);
    const raw = new Raw(app.port, REQUEST('/slow?ms=300'));
    const idle = new Raw(app.port, REQUEST('/'));
    await idle.says('ok');
    app.drain();
    await idle.end();
    app.child.disconnect();
    await raw.end();
    assert.match(raw.text, /slow$/);
    assert.equal((await get(app.port, '/')).body, 'ok');
    await app.stop();
  },

  async odd_commands_are_survived() {
    const app = await serve(['app.cjs', 'http']);
    for (const extra of [{}, { idle_ms: -1 }, { idle_ms: 'soon' }, { idle_ms: 1e300 }, { stop_listening: 'yes' }, { act: 7 }, { act: null }]) {
      app.child.send({ cmd: 'NODE_OSTLER', act: 'drain', ...extra });
    }
    await until(() => app.drained > 0);
    assert.equal((await get(app.port, '/')).body, 'ok');
    await app.stop();
  },
};

const [name] = process.argv.slice(2);
// Also when nothing is left to wait for, as after the death of an app.
process.exitCode = name ? 1 : 0;
setTimeout(() => assert.fail('the scenario has not ended in time'), 30_000).unref();
process.on('unhandledRejection', (error) => {
  console.error(error);
  process.exit(1);
});
if (name) {
  scenarios[name]().then(() => process.exit(0));
} else {
  console.log(Object.keys(scenarios).join('\n'));
}
