// Users and sign-in. The session is in a signed token, not in memory, so any instance can answer any request.
'use strict';

const crypto = require('crypto');
const { serve, readJson, reply, BadRequest } = require('../../shared/service');

const secret = process.env.TOKEN_SECRET || 'only-for-the-example';
const users = new Map([['ada', 'lovelace'], ['grace', 'hopper']]);
const sign = (text) => crypto.createHmac('sha256', secret).update(text).digest('base64url');

/** A token: payload and its signature. */
function issue(name) {
  const payload = Buffer.from(JSON.stringify({ name, expires: Date.now() + 3600_000 })).toString('base64url');
  return `${payload}.${sign(payload)}`;
}

/** The name in a valid token, else undefined. */
function verify(token) {
  const [payload, signature] = token.split('.');
  if (!payload || !signature) return undefined;
  const expected = Buffer.from(sign(payload));
  const given = Buffer.from(signature);
  if (given.length !== expected.length || !crypto.timingSafeEqual(given, expected)) return undefined;
  const { name, expires } = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
  return expires > Date.now() ? name : undefined;
}

serve({
  name: 'user-service',
  port: Number(process.env.PORT || 30001),
  routes: {
    'POST /login': async (req, res) => {
      const { name, password } = await readJson(req);
      if (typeof name !== 'string') throw new BadRequest('name is missing');
      if (!users.has(name) || users.get(name) !== password) return reply(res, 401, { error: 'wrong name or password' });
      return { token: issue(name) };
    },
    'GET /me': async (req, res) => {
      const name = verify((req.headers.authorization || '').replace(/^Bearer /, ''));
      return name ? { name } : reply(res, 401, { error: 'no valid token' });
    },
  },
});
