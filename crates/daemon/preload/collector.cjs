// What the preload loads while somebody collects figures of a Node app, and not before. See docs/node-preload.md.
//
// It listens to what Node itself publishes (`diagnostics_channel`, `perf_hooks`), and patches nothing. When nobody has asked for some time everything is as it
// was: no listener, no timer, no observer.
'use strict';
const { channel } = require('diagnostics_channel');
const { performance, PerformanceObserver, monitorEventLoopDelay } = require('perf_hooks');
const { getHeapStatistics } = require('v8');

/** Time between two reports, and after which the figures of requests begin anew: percentiles are of one to two of these. */
const REPORT_MS = 2000;
const WINDOW_MS = 10000;
/** Longest time for which it goes on without being asked again. */
const LONGEST_MS = 120000;
/** Most routes that are told apart, and longest name of one. */
const ROUTES = 100;
const ROUTE = 120;
/** Most addresses whose route is remembered. */
const ADDRESSES = 500;
/** Requests a second from which all are counted, and only each sixteenth is timed and looked at for its route. */
const MANY = 400;
const SAMPLED = 16;
/** Requests a second up to which each end is heard. Beyond, all are counted when they begin, and some hundreds a second are followed to their end, for the
 * others, too: two thirds of what hearing costs, which is much only where a request does nothing else. */
const HEARD = 4000;
const FOLLOWED = 300;
/** Collections of garbage that are heard between two reports. They stand for the others: each costs some 100 us to be told of. */
const HEARD_COLLECTIONS = 20;
/** Buckets of durations: sixteen for each power of two of microseconds, so a value is right to 6 %. */
const BUCKETS = 512;

const began = Symbol('ostler');

function bucketOf(us) {
  if (us < 16) return us;
  const power = 31 - Math.clz32(us);
  return Math.min(((power - 3) << 4) | ((us >>> (power - 4)) & 15), BUCKETS - 1);
}

/** The middle of a bucket, in seconds. */
function valueOf(bucket) {
  if (bucket < 16) return bucket / 1e6;
  const power = (bucket >> 4) + 3;
  return ((16 + (bucket & 15) + 0.5) * 2 ** (power - 4)) / 1e6;
}

function percentile(share, counts, total) {
  let rest = Math.ceil(share * total);
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    rest -= counts[bucket];
    if (rest <= 0) return valueOf(bucket);
  }
  return valueOf(BUCKETS - 1);
}

/** A path without what is different each time. */
function routeOf(path) {
  const end = path.search(/[?#]/);
  const plain = end < 0 ? path : path.slice(0, end);
  const isId = (part) => /^\d+$/.test(part) || (part.length > 5 && /\d/.test(part)) || (part.length >= 8 && /^[0-9a-f-]+$/i.test(part));
  return plain.slice(0, 1000).split('/').map((part) => (isId(part) ? ':id' : part)).join('/').slice(0, ROUTE);
}

/** Requests of a time. */
class Requests {
  count = 0;
  failed = 0;
  durations = new Uint32Array(BUCKETS);
  since = performance.now();
}

/** Time in which the event loop was not idle, in milliseconds. */
const active = () => performance.eventLoopUtilization().active;

/** Time in garbage collection: of the first collections after each report, and for the rest in proportion to the time in which the app did something. */
class Garbage {
  /** Up to the last turn. */
  seconds = 0;
  constructor() {
    this.observer = new PerformanceObserver(quietly((list) => this.hear(list.getEntries())));
    this.begin();
  }

  begin() {
    this.since = active();
    this.until = undefined;
    this.heard = 0;
    this.count = 0;
    this.observer.observe({ entryTypes: ['gc'] });
  }

  hear(entries) {
    this.count += entries.length;
    for (const entry of entries) this.heard += entry.duration / 1000;
    if (this.count < HEARD_COLLECTIONS) return;
    this.observer.disconnect();
    this.until = active();
  }

  /** Counts what was heard since the last turn. */
  turn() {
    const weight = this.until === undefined ? 1 : (active() - this.since) / (this.until - this.since);
    // Node knows no time before its loop has begun.
    this.seconds += this.heard * (Number.isFinite(weight) ? Math.max(weight, 1) : 1);
    this.begin();
  }

  end() {
    this.observer.disconnect();
  }
}

class Collector {
  constructor(say) {
    this.say = say;
    this.total = 0;
    this.totalFailed = 0;
    this.now = new Requests();
    this.before = undefined;
    this.routes = new Map();
    this.addresses = new Map();
    this.stride = 1;
    this.begins = 0;
    /** Requests that are timed and not answered yet. */
    this.timed = 0;
    this.garbage = new Garbage();
    this.began = performance.now();
    this.use = performance.eventLoopUtilization();
    // Kept: Node 18 collects a channel that nobody refers to, with its subscribers.
    this.starts = channel('http.server.request.start');
    this.finishes = channel('http.server.response.finish');
    this.onStart = quietly(({ response }) => this.begun(response));
    this.onFinish = quietly((message) => this.finished(message));
    this.onMany = (message) => {
      this.many += 1;
      if ((this.many & this.mask) === 0) this.follow(message);
    };
    this.hearsEnds = true;
    this.many = 0;
    this.mask = 0;
    this.starts.subscribe(this.onStart);
    this.finishes.subscribe(this.onFinish);
    this.delay = monitorEventLoopDelay({ resolution: 50 });
    this.delay.enable();
    this.timer = setInterval(quietly(() => this.report()), REPORT_MS).unref();
  }

  end() {
    this.starts.unsubscribe(this.onStart);
    this.starts.unsubscribe(this.onMany);
    this.finishes.unsubscribe(this.onFinish);
    this.delay.disable();
    this.garbage.end();
    clearInterval(this.timer);
  }

  /** Changes between the two ways. Seldom: Node's own code has to be compiled anew for it. */
  hearEnds(hears) {
    if (hears === this.hearsEnds) return;
    this.hearsEnds = hears;
    this.timed = 0;
    if (hears) {
      this.starts.subscribe(this.onStart);
      this.starts.unsubscribe(this.onMany);
      this.finishes.subscribe(this.onFinish);
    } else {
      this.starts.subscribe(this.onMany);
      this.starts.unsubscribe(this.onStart);
      this.finishes.unsubscribe(this.onFinish);
    }
  }

  /** Counts what has begun since the last time. */
  countMany() {
    this.now.count += this.many;
    this.total += this.many;
    this.many = 0;
  }

  follow({ request, response }) {
    try {
      const start = performance.now();
      const weight = this.mask + 1;
      response.once('finish', quietly(() => this.answered(request, response, start, weight)));
    } catch {
      // The app goes on as if we were not there.
    }
  }

  answered(request, response, start, weight) {
    const hasFailed = response.statusCode >= 500;
    if (hasFailed) {
      this.now.failed += weight;
      this.totalFailed += weight;
    }
    const us = Math.min(Math.round((performance.now() - start) * 1000), 0x7fffffff);
    this.now.durations[bucketOf(us)] += 1;
    this.count(request, us, hasFailed, weight);
  }

  begun(response) {
    this.begins += 1;
    if (this.begins % this.stride !== 0) return;
    this.timed += 1;
    response[began] = performance.now();
  }

  finished({ request, response }) {
    const hasFailed = response.statusCode >= 500;
    this.now.count += 1;
    this.total += 1;
    if (hasFailed) {
      this.now.failed += 1;
      this.totalFailed += 1;
    }
    if (this.timed === 0) return;
    const start = response[began];
    if (start === undefined) return;
    this.timed -= 1;
    const us = Math.min(Math.round((performance.now() - start) * 1000), 0x7fffffff);
    this.now.durations[bucketOf(us)] += 1;
    this.count(request, us, hasFailed, this.stride);
  }

  /** Counts a request for its route, and for as many as it stands for. */
  count(request, us, hasFailed, weight) {
    const name = this.nameOf(request);
    let route = this.routes.get(name);
    if (!route) {
      const key = this.routes.size < ROUTES - 1 ? name : 'other';
      route = this.routes.get(key);
      if (!route) this.routes.set(key, (route = { requests: 0, failed: 0, durations: new Map(), before: new Map() }));
    }
    route.requests += weight;
    if (hasFailed) route.failed += weight;
    const bucket = bucketOf(us);
    route.durations.set(bucket, (route.durations.get(bucket) || 0) + 1);
  }

  nameOf(request) {
    // Express says which of its routes it was.
    const own = request.route && typeof request.route.path === 'string' ? `${request.baseUrl || ''}${request.route.path}` : undefined;
    if (own !== undefined) return `${request.method} ${own.slice(0, ROUTE)}`;
    const address = `${request.method} ${request.url}`;
    let name = this.addresses.get(address);
    if (name === undefined) {
      name = `${request.method} ${routeOf(request.url)}`;
      if (this.addresses.size >= ADDRESSES) this.addresses.clear();
      if (address.length < 2 * ROUTE) this.addresses.set(address, name);
    }
    return name;
  }

  report() {
    const now = performance.now();
    if (now >= until) return stop();
    const { now: newest, before } = this;
    this.countMany();
    this.garbage.turn();
    const counts = Uint32Array.from(newest.durations, (count, bucket) => count + (before ? before.durations[bucket] : 0));
    const count = newest.count + (before ? before.count : 0);
    // What was followed stands for others: in a short time for more than there were.
    const failed = Math.min(newest.failed + (before ? before.failed : 0), count);
    const seconds = Math.max(now - (before || newest).since, 1) / 1000;
    const rate = count / seconds;
    const use = performance.eventLoopUtilization();
    const delta = performance.eventLoopUtilization(use, this.use);
    this.use = use;
    const heap = getHeapStatistics();
    const timed = counts.reduce((sum, one) => sum + one, 0);
    const at = (share) => (timed > 0 ? percentile(share, counts, timed) : null);
    // The resolution is a part of what is measured.
    const delayed = (share) => Math.max(this.delay.percentile(share) / 1e9 - 0.05, 0) || 0;
    const figures = {
      seconds: (now - this.began) / 1000,
      requests: this.total,
      failed: this.totalFailed,
      rate,
      failed_share: count > 0 ? failed / count : null,
      p50: at(0.5),
      p95: at(0.95),
      p99: at(0.99),
      loop_use: delta.utilization,
      loop_delay_p50: delayed(50),
      loop_delay_p99: delayed(99),
      heap_used: heap.used_heap_size,
      heap_total: heap.total_heap_size,
      gc_seconds: this.garbage.seconds,
      handles: process.getActiveResourcesInfo ? process.getActiveResourcesInfo().length : 0,
      routes: this.described(),
    };
    if (now - newest.since >= WINDOW_MS) {
      this.before = newest;
      this.now = new Requests();
      for (const route of this.routes.values()) {
        route.before = route.durations;
        route.durations = new Map();
      }
      this.delay.reset();
    }
    this.stride = rate > MANY ? SAMPLED : 1;
    this.mask = 2 ** Math.max(Math.round(Math.log2(rate / FOLLOWED)), 0) - 1;
    this.hearEnds(rate < (this.hearsEnds ? HEARD : HEARD / 2));
    this.say(figures);
  }

  described() {
    return [...this.routes].map(([route, { requests, failed, durations, before }]) => {
      const counts = new Map(before);
      for (const [bucket, count] of durations) counts.set(bucket, (counts.get(bucket) || 0) + count);
      const buckets = [...counts].sort(([one], [other]) => one - other);
      const total = buckets.reduce((sum, [, count]) => sum + count, 0);
      const at = (share) => {
        let rest = Math.ceil(share * total);
        const bucket = buckets.find(([, count]) => (rest -= count) <= 0);
        return bucket ? valueOf(bucket[0]) : null;
      };
      return { route, requests, failed, p50: at(0.5), p95: at(0.95), p99: at(0.99) };
    });
  }
}

let collector;
let until = 0;

function stop() {
  if (collector) collector.end();
  collector = undefined;
}

function quietly(action) {
  return (word) => {
    try {
      action(word);
    } catch {
      // The app goes on as if we were not there.
    }
  };
}

/** Collects for this time from now on; `say` takes what was found. */
module.exports = (forMs, say) => {
  const longest = Math.min(Number(forMs) || 0, LONGEST_MS);
  until = performance.now() + longest;
  if (longest <= 0) stop();
  else if (!collector) collector = new Collector(say);
};
