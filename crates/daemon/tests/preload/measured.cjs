// A server whose requests are measured, and what of that can be seen in it.
'use strict';
const { channel } = require('node:diagnostics_channel');
const channels = ['http.server.request.start', 'http.server.response.finish'].map(channel);
const server = require('node:http').createServer((request, response) => {
  if (request.url === '/slow') return setTimeout(() => response.end('slow'), 100);
  response.statusCode = request.url === '/fails' ? 500 : 200;
  return response.end('ok');
});
server.listen(0, '127.0.0.1', () => process.send({ listening: server.address().port }));
// Timers of ours keep no process, so nothing of Node tells of them.
let timers = 0;
const { setInterval: set, clearInterval: clear } = global;
global.setInterval = (...words) => {
  timers += 1;
  return set(...words);
};
global.clearInterval = (timer) => {
  if (timer) timers -= 1;
  clear(timer);
};
const collected = { seconds: 0, count: 0, heard: 0 };
// What litters keeps.
let kept;
// Who loads this later than the app does is the collector.
const hooks = require('node:perf_hooks');
const { PerformanceObserver } = hooks;
hooks.PerformanceObserver = class extends PerformanceObserver {
  constructor(hear) {
    super((list) => {
      if (kept) collected.heard += list.getEntries().length;
      hear(list);
    });
  }
};
process.on('message', (word) => {
  if (word === 'litter' || word === 'litter a little') {
    const most = word === 'litter' ? Infinity : 60;
    const hear = (entry) => {
      collected.seconds += entry.duration / 1000;
      collected.count += 1;
    };
    new PerformanceObserver((list) => list.getEntries().forEach(hear)).observe({ entryTypes: ['gc'] });
    const litter = () => {
      if (collected.count >= most) return clear(litters);
      for (let round = 0; round < 100; round++) kept = Array.from({ length: 500 }, (_, number) => ({ number, more: [round] }));
    };
    const litters = set(litter, 1);
  }
  process.send({ channels: channels.map((one) => one.hasSubscribers), timers, collected });
});
