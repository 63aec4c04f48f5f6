// Encodes the value of a config file as JSON. Both engines share it, so their answers are equal.
// An expression: [settle, encode, fail].
(() => {
  const MAX_VALUES = 200000;
  const MAX_DEPTH = 64;

  // A file may export a function or a promise; an ES module a default or names.
  const settle = async (exported) => {
    let value = await exported;
    if (value && typeof value === 'object' && (value.__esModule || value[Symbol.toStringTag] === 'Module')) {
      const holdsApps = (v) => v && typeof v === 'object' && (Array.isArray(v) || 'apps' in v || 'pm2' in v || 'script' in v);
      if ('default' in value && (!('apps' in value) || holdsApps(value.default))) value = await value.default;
    }
    // A class cannot be called: the file is then a script and not a config.
    if (typeof value === 'function' && !/^class\b/.test(Function.prototype.toString.call(value))) value = await value();
    return value;
  };

  const plain = (root) => {
    // Values that are no settings: path and type.
    const ignored = [];
    // Paths of variables without a value, which JSON cannot represent.
    const undefinedVariables = [];
    const open = new Set();
    let count = 0;
    const walk = (given, path, depth) => {
      let v = given;
      if (v && typeof v === 'object' && typeof v.toJSON === 'function') v = v.toJSON();
      if (++count > MAX_VALUES) throw new RangeError(`the file evaluates to more than ${MAX_VALUES} values`);
      switch (typeof v) {
        case 'undefined': return undefined;
        case 'function':
        case 'symbol':
          if (depth > 1) ignored.push([path, typeof v]);
          return undefined;
        case 'bigint': return String(v);
        // JSON has no NaN or Infinity; the checks reject them as texts.
        case 'number': return Number.isFinite(v) ? v : String(v);
        case 'object': break;
        default: return v;
      }
      if (v === null) return null;
      // JSON has no regular expressions; ignore_watch accepts this form.
      if (Object.prototype.toString.call(v) === '[object RegExp]') return `regex:${v.ignoreCase ? '(?i)' : ''}${v.source}`;
      if (v instanceof String || v instanceof Number || v instanceof Boolean) return v.valueOf();
      if (open.has(v)) throw new TypeError(`${path || 'the export'} refers to itself (cyclic object)`);
      if (depth > MAX_DEPTH) throw new RangeError(`${path} is nested deeper than ${MAX_DEPTH} levels`);
      open.add(v);
      let out;
      if (Array.isArray(v)) {
        out = [];
        for (let i = 0; i < v.length; i++) {
          const item = walk(v[i], `${path}[${i}]`, depth + 1);
          out.push(item === undefined ? null : item);
        }
      } else {
        // No prototype: a key called __proto__ stays a key.
        out = Object.create(null);
        for (const key of Object.keys(v)) {
          const item = walk(v[key], path ? `${path}.${key}` : key, depth + 1);
          if (item !== undefined) out[key] = item;
          else if (/(^|\.)env(_[^.]*)?$/.test(path)) undefinedVariables.push(`${path}.${key}`);
        }
      }
      open.delete(v);
      return out;
    };
    const value = walk(root, '', 0);
    return { value: value === undefined ? null : value, ignored, undefinedVariables };
  };

  const changes = (before, after) => {
    const set = Object.create(null);
    const unset = [];
    for (const name of Object.keys(after)) if (after[name] !== before[name]) set[name] = String(after[name]);
    for (const name of Object.keys(before)) if (!(name in after)) unset.push(name);
    return { set, unset };
  };

  const encode = (value, before, after) => JSON.stringify({ ...plain(value), env: changes(before, after) });

  const fail = (error) => {
    const isError = error && typeof error === 'object' && 'message' in error;
    return JSON.stringify({
      error: {
        name: String((isError && error.name) || 'Error'),
        message: isError ? String(error.message) : `the file threw ${String(error)}`,
        stack: String((isError && error.stack) || ''),
      },
    });
  };

  return [settle, encode, fail];
})()
