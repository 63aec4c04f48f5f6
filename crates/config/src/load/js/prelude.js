// The part of Node's environment that config files use. Missing or different parts call
// host.unsupported(), and the real runtime takes over. An expression: (host, [settle, encode, fail]) => run.
((host, shared) => {
  'use strict';
  const [settle, encode, fail] = shared;
  const facts = JSON.parse(host.facts());
  const unsupported = (what) => {
    host.unsupported(what);
    throw new Error(`${what} needs a JavaScript runtime (node, bun or deno)`);
  };
  // An object with known keys; any other key hands over to the real runtime.
  const limited = (name, own) =>
    new Proxy(own, {
      get: (target, key) => (typeof key === 'symbol' || key in target || key === '__esModule' || key === 'then' || key === 'toJSON' ? target[key] : unsupported(`${name}.${key}`)),
      set: (_, key) => unsupported(`setting ${name}.${String(key)}`),
    });
  const nodeError = (code, syscall, path, text) => Object.assign(new Error(`${code}: ${text}, ${syscall} '${path}'`), { code, syscall, path, errno: code === 'ENOENT' ? -2 : -13 });

  // --- path (POSIX), as documented in Node's manual ---
  const text = (value, name) => {
    if (typeof value === 'string') return value;
    const error = new TypeError(`The "${name}" argument must be of type string. Received ${value === null ? 'null' : typeof value}`);
    error.code = 'ERR_INVALID_ARG_TYPE';
    throw error;
  };
  const squeeze = (parts, absolute) => {
    const out = [];
    for (const part of parts) {
      if (part === '' || part === '.') continue;
      if (part !== '..') out.push(part);
      else if (out.length && out[out.length - 1] !== '..') out.pop();
      else if (!absolute) out.push('..');
    }
    return out.join('/');
  };
  const path = {
    sep: '/',
    delimiter: ':',
    normalize(p) {
      if (text(p, 'path') === '') return '.';
      const absolute = p[0] === '/';
      let out = squeeze(p.split('/'), absolute);
      if (out === '' && !absolute) out = '.';
      if (out !== '' && p.endsWith('/')) out += '/';
      return absolute ? `/${out}` : out;
    },
    join(...parts) {
      const joined = parts.map((part) => text(part, 'path')).filter((part) => part !== '').join('/');
      return joined === '' ? '.' : path.normalize(joined);
    },
    resolve(...parts) {
      let out = '';
      for (const part of parts.reverse()) {
        if (text(part, 'paths') === '') continue;
        out = out === '' ? part : `${part}/${out}`;
        if (part[0] === '/') return `/${squeeze(out.split('/'), true)}`;
      }
      return `/${squeeze(`${facts.cwd}/${out}`.split('/'), true)}`;
    },
    isAbsolute: (p) => text(p, 'path')[0] === '/',
    dirname(p) {
      const trimmed = text(p, 'path').replace(/\/+$/, '');
      const end = trimmed.lastIndexOf('/');
      if (end <= 0) return p[0] === '/' ? '/' : '.';
      return end === 1 && p[0] === '/' ? '//' : trimmed.slice(0, end);
    },
    basename(p, suffix) {
      if (suffix && p === suffix) return '';
      const base = text(p, 'path').replace(/\/+$/, '').split('/').pop();
      return suffix !== undefined && base !== suffix && base.endsWith(text(suffix, 'suffix')) ? base.slice(0, base.length - suffix.length) : base;
    },
    extname(p) {
      const base = path.basename(p);
      const dot = base.lastIndexOf('.');
      return dot <= 0 || base === '..' ? '' : base.slice(dot);
    },
    relative(from, to) {
      const a = path.resolve(text(from, 'from')).split('/').filter(Boolean);
      const b = path.resolve(text(to, 'to')).split('/').filter(Boolean);
      let same = 0;
      while (same < a.length && same < b.length && a[same] === b[same]) same++;
      return [...a.slice(same).map(() => '..'), ...b.slice(same)].join('/');
    },
    parse(p) {
      const base = path.basename(p);
      const ext = path.extname(p);
      const root = text(p, 'path')[0] === '/' ? '/' : '';
      const cut = p.replace(/\/+$/, '');
      const end = cut.lastIndexOf('/');
      return { root, dir: end > 0 ? cut.slice(0, end) : root, base, ext, name: ext ? base.slice(0, -ext.length) : base };
    },
    format(parts) {
      const base = parts.base || `${parts.name || ''}${parts.ext ? (parts.ext[0] === '.' ? parts.ext : `.${parts.ext}`) : ''}`;
      const dir = parts.dir || parts.root;
      if (!dir) return base;
      return dir === parts.root ? `${dir}${base}` : `${dir}/${base}`;
    },
  };
  path.posix = path;

  // --- os, fs, url ---
  const os = {
    EOL: '\n',
    cpus: () => Array.from({ length: facts.cpus }, () => limited('os.cpus()[]', {})),
    availableParallelism: () => unsupported('os.availableParallelism()'),
    hostname: () => facts.hostname,
    homedir: () => (env.HOME === undefined ? unsupported('os.homedir()') : env.HOME),
    tmpdir: () => (env.TMPDIR || env.TMP || env.TEMP || '/tmp').replace(/(?<=.)\/$/, ''),
    platform: () => 'linux',
    type: () => 'Linux',
    arch: () => facts.arch,
  };
  const local = (p) => (typeof p === 'string' ? path.resolve(p) : p instanceof FileUrl ? fileURLToPath(p) : unsupported('a path that is not a string'));
  const readText = (p, syscall) => {
    const answer = JSON.parse(host.read(local(p)));
    if (answer.unsupported) unsupported(answer.unsupported);
    if (answer.code) throw nodeError(answer.code, syscall, String(p), answer.text);
    return answer.text;
  };
  const fs = {
    existsSync: (p) => typeof p === 'string' && p !== '' && host.kind(path.resolve(p)) !== '',
    readFileSync(p, options) {
      const encoding = typeof options === 'string' ? options : options && options.encoding;
      const content = readText(p, 'open');
      if (encoding && !/^utf-?8$/i.test(encoding)) unsupported(`fs.readFileSync with ${encoding}`);
      // Without an encoding Node returns bytes, which most files only convert to text.
      return encoding ? content : limited('Buffer', { toString: (as) => (as && !/^utf-?8$/i.test(as) ? unsupported(`Buffer.toString(${as})`) : content) });
    },
  };
  class FileUrl {
    constructor(p) { this.href = `file://${encodeURI(p).replace(/[?#]/g, encodeURIComponent)}`; this.protocol = 'file:'; this.pathname = this.href.slice(7); }
    toString() { return this.href; }
  }
  const fileURLToPath = (url) => {
    const href = String(url);
    return href.startsWith('file:///') ? decodeURIComponent(href.slice(7)) : unsupported('a URL that is not a file');
  };
  const url = { fileURLToPath, pathToFileURL: (p) => limited('URL', new FileUrl(path.resolve(p))) };
  const moduleModule = { createRequire: (from) => requireFrom(String(from).startsWith('file:') ? fileURLToPath(from) : String(from)) };
  const builtins = { path, 'path/posix': path, os, fs, url, module: moduleModule };

  // --- process, console, globals ---
  const before = Object.assign(Object.create(null), facts.env);
  const env = new Proxy(Object.assign({}, facts.env), {
    set: (target, key, value) => ((target[key] = String(value)), true),
    defineProperty: (target, key, what) => ((target[key] = String(what.value)), true),
  });
  const streams = (write) => limited('process.stdout', { write: (chunk) => (write(String(chunk)), true), isTTY: false });
  const process = limited('process', {
    env,
    argv: facts.argv,
    cwd: () => facts.cwd,
    platform: 'linux',
    arch: facts.arch,
    nextTick: (f, ...args) => queueMicrotask(() => f(...args)),
    stdout: streams(host.write),
    stderr: streams(host.write),
    browser: undefined,
  });
  const show = (value) => {
    if (typeof value === 'string') return value;
    if (value instanceof Error) return value.stack ? `${value}\n${value.stack}` : String(value);
    try {
      const json = JSON.stringify(value);
      return json === undefined ? String(value) : json;
    } catch {
      return String(value);
    }
  };
  const log = (...values) => host.write(`${values.map(show).join(' ')}\n`);
  globalThis.console = limited('console', { log, info: log, warn: log, error: log, debug: log });
  globalThis.process = process;
  globalThis.global = globalThis;
  const absent = ['Buffer', 'setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'clearImmediate', 'fetch', 'URL',
    'URLSearchParams', 'TextEncoder', 'TextDecoder', 'structuredClone', 'crypto', 'performance', 'Intl', 'WebAssembly', 'AbortController',
    'AbortSignal', 'Event', 'EventTarget', 'Blob', 'btoa', 'atob', 'navigator'];
  for (const name of absent) {
    Object.defineProperty(globalThis, name, { configurable: true, get: () => unsupported(name), set(value) { Object.defineProperty(globalThis, name, { value, writable: true, configurable: true }); } });
  }
  // Functions that depend on the engine's locale tables.
  for (const [type, names] of [[Date, ['toLocaleString', 'toLocaleDateString', 'toLocaleTimeString']], [Number, ['toLocaleString']], [String, ['localeCompare', 'toLocaleUpperCase', 'toLocaleLowerCase']], [Array, ['toLocaleString']]]) {
    for (const name of names) type.prototype[name] = () => unsupported(`${type.name}.prototype.${name}`);
  }

  // --- modules ---
  const cache = new Map();
  const builtin = (name) => {
    const plainName = name.startsWith('node:') ? name.slice(5) : name;
    return Object.hasOwn(builtins, plainName) ? limited(plainName, builtins[plainName]) : undefined;
  };
  const locate = (base) => {
    for (const candidate of [base, `${base}.js`, `${base}.json`]) if (host.kind(candidate) === 'file') return candidate;
    if (host.kind(base) === 'dir') {
      if (host.kind(`${base}/package.json`) === 'file') unsupported(`the package in ${base}`);
      for (const candidate of [`${base}/index.js`, `${base}/index.json`]) if (host.kind(candidate) === 'file') return candidate;
    }
    return undefined;
  };
  const isModule = (file) => file.endsWith('.mjs') || (file.endsWith('.js') && host.packageType(file) === 'module');
  const isTyped = (file) => /\.[mc]?tsx?$/.test(file);
  const resolve = (name, file) => {
    if (typeof name !== 'string') unsupported('require of a value that is not a string');
    if (!/^(\.{0,2}\/|\.{1,2}$)/.test(name)) unsupported(`the module "${name}"`);
    const found = locate(path.resolve(path.dirname(file), name));
    if (found === undefined) throw Object.assign(new Error(`Cannot find module '${name}'\nRequire stack:\n- ${file}`), { code: 'MODULE_NOT_FOUND' });
    return found;
  };
  const load = (file) => {
    if (cache.has(file)) return cache.get(file).exports;
    if (isTyped(file)) unsupported('TypeScript');
    if (isModule(file) || /\.(node|wasm)$/.test(file)) unsupported(`require of ${path.basename(file)}`);
    const module = { exports: {}, id: file, filename: file, path: path.dirname(file), loaded: false };
    cache.set(file, module);
    try {
      if (file.endsWith('.json')) {
        try {
          module.exports = JSON.parse(readText(file, 'open').replace(/^\uFEFF/, ''));
        } catch (error) {
          error.message = `${file}: ${error.message}`;
          throw error;
        }
      } else {
        const source = readText(file, 'open');
        host.compile(file, source).call(module.exports, module.exports, requireFrom(file), module, file, path.dirname(file));
      }
    } catch (error) {
      cache.delete(file);
      throw error;
    }
    module.loaded = true;
    return module.exports;
  };
  const requireFrom = (file) => {
    const require = (name) => builtin(name) || load(resolve(name, file));
    require.resolve = (name) => (builtin(name) ? name : resolve(name, file));
    require.main = undefined;
    for (const name of ['cache', 'extensions']) Object.defineProperty(require, name, { get: () => unsupported(`require.${name}`) });
    return require;
  };
  // Used by the ES module loader.
  host.registry.builtin = builtin;
  host.registry.builtins = builtins;
  host.registry.load = load;

  return async (kind, file, source) => {
    try {
      let exported;
      if (kind === 'expression') exported = host.expression(file, source);
      else if (isTyped(file)) unsupported('TypeScript');
      else if (kind === 'file' && isModule(file)) exported = await import(file);
      else if (kind === 'file') exported = load(file);
      else {
        const module = { exports: {}, id: file, filename: file, path: path.dirname(file), loaded: false };
        host.compile(file, source).call(module.exports, module.exports, requireFrom(file), module, file, path.dirname(file));
        exported = module.exports;
      }
      return encode(await settle(exported), before, env);
    } catch (error) {
      return fail(error);
    }
  };
})
