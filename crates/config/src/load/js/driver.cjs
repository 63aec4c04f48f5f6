// Evaluates a config file in the real runtime. Arguments: marker, kind, file, JSON of argv. Standard input: the source, unless kind
// is `file`. The answer goes to standard output between two markers, apart from the file's own output, which goes to
// standard error.
'use strict';
const fs = require('fs');
const path = require('path');
const { pathToFileURL } = require('url');
const vm = require('vm');
const [marker, kind, file, argv] = process.argv.slice(-4);
const source = kind === 'file' ? '' : fs.readFileSync(0, 'utf8');
const [settle, encode, fail] = /*ENCODE*/;

const answer = (text) => {
  let bytes = Buffer.from(`${marker}${text}${marker}`);
  while (bytes.length) {
    try {
      bytes = bytes.subarray(fs.writeSync(1, bytes));
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
};
try {
  process.stdout.write = process.stderr.write.bind(process.stderr);
  if (typeof Bun !== 'undefined') console.log = console.info = console.debug = console.error;
} catch {}
const before = { ...process.env };
process.argv = JSON.parse(argv);

const load = async () => {
  if (kind === 'expression') return vm.runInThisContext(source, { filename: file });
  if (kind === 'stdin') {
    const Module = require('module');
    const module = new Module(file);
    module.filename = file;
    module.paths = Module._nodeModulePaths(path.dirname(file));
    module._compile(source, file);
    return module.exports;
  }
  if (/\.m[jt]s$/.test(file)) return import(pathToFileURL(file).href);
  try {
    return require(file);
  } catch (error) {
    // The package makes it an ES module, or it has a top-level await.
    const esm = ['ERR_REQUIRE_ESM', 'ERR_REQUIRE_ASYNC_MODULE', 'ERR_REQUIRE_CYCLE_MODULE'].includes(error && error.code);
    const syntax = error instanceof SyntaxError && /import statement|Unexpected token 'export'|import\.meta|await is only valid/.test(error.message);
    if (!esm && !syntax) throw error;
    return import(pathToFileURL(file).href);
  }
};

// Timers and sockets that the file leaves open must not keep the client waiting.
const finish = (text) => {
  answer(text);
  process.exit(0);
};
load().then(settle).then((value) => finish(encode(value, before, process.env))).catch((error) => finish(fail(error)));
