// Takes uploads: a body goes to a temporary file first and gets its name, the hash of its content, when it is complete.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { pipeline } = require('stream/promises');
const { Transform } = require('stream');
const { serve, reply, log } = require('../../shared/service');

const LIMIT = 64 * 1024 * 1024;
const folder = process.env.UPLOADS || fs.mkdtempSync(path.join(os.tmpdir(), 'shop-uploads-'));
const temporary = !process.env.UPLOADS;
fs.mkdirSync(folder, { recursive: true });
let uploads = 0;

async function upload(req, res) {
  const part = path.join(folder, `${process.pid}-${(uploads += 1)}.part`);
  const hash = crypto.createHash('sha256');
  let size = 0;
  const meter = new Transform({
    transform(chunk, _, done) {
      size += chunk.length;
      hash.update(chunk);
      done(size > LIMIT ? new Error('too large') : null, chunk);
    },
  });
  try {
    await pipeline(req, meter, fs.createWriteStream(part));
  } catch (error) {
    await fs.promises.rm(part, { force: true });
    if (size > LIMIT) return reply(res, 413, { error: `more than ${LIMIT} bytes` });
    throw error;
  }
  const sha256 = hash.digest('hex');
  await fs.promises.rename(part, path.join(folder, sha256));
  log(`stored ${size} bytes as ${sha256.slice(0, 12)}`);
  return { sha256, size };
}

serve({
  name: 'app-service',
  port: Number(process.env.PORT || 30003),
  health: () => ({ uploads }),
  routes: {
    'POST /apps': upload,
    'GET /apps': async () => (await fs.promises.readdir(folder)).filter((name) => !name.endsWith('.part')),
  },
  // The folder was ours only if nobody named one.
  close: async () => temporary && fs.promises.rm(folder, { recursive: true, force: true }),
});
