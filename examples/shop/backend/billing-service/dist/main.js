// Orders and payments. A timer cancels unpaid orders: with two copies it would run twice, and a payment callback could be booked twice.
'use strict';

const crypto = require('crypto');
const { serve, readJson, reply, log, BadRequest } = require('../../shared/service');

const EXPIRE_MS = Number(process.env.ORDER_EXPIRES_MS || 300_000);
const orders = new Map();

const sweep = setInterval(() => {
  for (const order of orders.values()) {
    if (order.state === 'open' && Date.now() - order.created > EXPIRE_MS) {
      order.state = 'cancelled';
      log(`order ${order.id} expired`);
    }
  }
}, Math.min(EXPIRE_MS, 5000));

serve({
  name: 'billing-service',
  port: Number(process.env.PORT || 30004),
  health: () => ({ orders: orders.size }),
  routes: {
    'GET /orders': () => [...orders.values()],
    'POST /orders': async (req) => {
      const { amount } = await readJson(req);
      if (!Number.isInteger(amount) || amount <= 0) throw new BadRequest('amount must be a positive number of cents');
      const order = { id: crypto.randomUUID(), amount, state: 'open', created: Date.now() };
      orders.set(order.id, order);
      return order;
    },
    'POST /payments': async (req, res) => {
      const { order: id } = await readJson(req);
      const order = orders.get(id);
      if (!order) return reply(res, 404, { error: `no such order: ${id}` });
      if (order.state === 'cancelled') return reply(res, 409, { error: 'the order was cancelled' });
      // The provider may call more than once: the second call changes nothing.
      if (order.state === 'open') {
        order.state = 'paid';
        log(`order ${order.id} paid: ${order.amount}`);
      }
      return order;
    },
  },
  close: async () => clearInterval(sweep),
});
