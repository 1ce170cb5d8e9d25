/* client: the steps of the npm packages memjs (binary) and memcached (text); see README.md.
 *
 * usage: node client.js PART OPTIONS SERVERS [USER PASSWORD]
 * options: memjs or memcached */
'use strict';
const zlib = require('zlib');

const [part, optionList, serverList, ...login] = process.argv.slice(2);
const options = optionList.split('+');
const servers = serverList.split(',');
const WAIT_SECONDS = 60; // a slow machine changes nothing

function step(name, answer, remark) {
  if (typeof answer === 'boolean') answer = answer ? 'yes' : 'no';
  console.log(`${name} ${answer ?? 'none'}${remark ? `\t${remark}` : ''}`);
}

function same(name, answer, wanted) {
  const equal = Buffer.isBuffer(wanted) ? wanted.equals(answer) : answer === wanted;
  step(name, equal ? 'same' : `not the same: ${String(answer).slice(0, 60)}`);
}

/* A step that the library may answer with an error. */
async function outcome(name, promise) {
  try {
    step(name, Boolean(await promise));
  } catch (error) {
    step(name, false, error.message);
  }
}

/* ---- the two libraries with one face; get answers text, or undefined ---- */

class Memjs {
  constructor(more) {
    const { Client } = require('memjs');
    const [username, password] = login;
    const logger = { log() {} };
    this.client = Client.create(serverList, {
      logger, timeout: WAIT_SECONDS, retries: 0, username, password, ...more });
  }

  async getBytes(key) {
    return (await this.client.get(key)).value ?? undefined;
  }

  async get(key) {
    return (await this.getBytes(key))?.toString();
  }

  getMany(keys) {
    return Promise.all(keys.map(async (key) => [key, await this.get(key)]));
  }

  set(key, value, expires) {
    return this.client.set(key, value, { expires: expires ?? 0 });
  }

  add(key, value) {
    return this.client.add(key, value, {});
  }

  replace(key, value) {
    return this.client.replace(key, value, {});
  }

  append(key, value) {
    return this.client.append(key, value);
  }

  prepend(key, value) {
    return this.client.prepend(key, value);
  }

  delete(key) {
    return this.client.delete(key);
  }

  async incr(key, amount, initial) {
    return (await this.client.increment(key, amount, { initial })).value;
  }

  async decr(key, amount, initial) {
    return (await this.client.decrement(key, amount, { initial })).value;
  }

  touch(key, expires) {
    return this.client.touch(key, expires);
  }

  async flush() {
    return Object.values(await this.client.flush()).every((answer) => answer === true);
  }

  stats(what) {
    return new Promise((resolve, reject) => {
      this.client.statsWithKey(what ?? '', (error, _server, stats) => {
        return error ? reject(error) : resolve(stats);
      });
    });
  }

  end() {
    this.client.quit();
  }
}

class Memcached {
  constructor(more) {
    const Client = require('memcached');
    this.client = new Client(servers, {
      timeout: WAIT_SECONDS * 1000, maxValue: 10 << 20, ...more });
  }

  call(name, ...values) {
    return new Promise((resolve, reject) => {
      this.client[name](...values, (error, answer) => (error ? reject(error) : resolve(answer)));
    });
  }

  getBytes(key) {
    return this.call('get', key);
  }

  get(key) {
    return this.call('get', key);
  }

  async getMany(keys) {
    return Object.entries(await this.call('getMulti', keys));
  }

  gets(key) {
    return this.call('gets', key);
  }

  cas(key, value, cas) {
    return this.call('cas', key, value, cas, 0);
  }

  set(key, value, expires) {
    return this.call('set', key, value, expires ?? 0);
  }

  add(key, value) {
    return this.call('add', key, value, 0);
  }

  replace(key, value) {
    return this.call('replace', key, value, 0);
  }

  append(key, value) {
    return this.call('append', key, value);
  }

  prepend(key, value) {
    return this.call('prepend', key, value);
  }

  delete(key) {
    return this.call('del', key);
  }

  incr(key, amount) {
    return this.call('incr', key, amount);
  }

  decr(key, amount) {
    return this.call('decr', key, amount);
  }

  touch(key, expires) {
    return this.call('touch', key, expires);
  }

  async flush() {
    return (await this.call('flush')).every((answer) => answer === true);
  }

  async stats(what) {
    return (await this.call(what ?? 'stats'))[0];
  }

  async version() {
    return (await this.call('version'))[0].version;
  }

  end() {
    this.client.end();
  }
}

const BINARY = options.includes('memjs');

function connect(more) {
  return BINARY ? new Memjs(more) : new Memcached(more);
}

/* ---- the steps ---- */

async function doOneKey(mc) {
  step('flush', await mc.flush());
  if (!BINARY) step('version', await mc.version());
  step('get-absent', await mc.get('k'));
  step('set', await mc.set('k', 'hello'));
  step('get', await mc.get('k'));
  await mc.set('empty', '');
  same('empty', await mc.get('empty'), '');
  await outcome('add-present', mc.add('k', 'other'));
  await outcome('add-absent', mc.add('k2', 'other'));
  await outcome('replace-present', mc.replace('k', 'hello'));
  await outcome('replace-absent', mc.replace('k3', 'other'));
  await outcome('append', mc.append('k', '>'));
  await outcome('append-absent', mc.append('k3', '>'));
  if (!BINARY) { // memjs appends
    await outcome('prepend', mc.prepend('k', '<'));
    step('joined', await mc.get('k'));
    await outcome('prepend-absent', mc.prepend('k3', '<'));
  }
  step('delete', await mc.delete('k'));
  await outcome('delete-again', mc.delete('k'));
  step('deleted', await mc.get('k'));
}

async function doCounting(mc) {
  await mc.set('n', '10');
  step('incr', await mc.incr('n', 5));
  step('decr', await mc.decr('n', 1));
  if (BINARY) {
    step('incr-initial', await mc.incr('n3', 5, 7));
    step('decr-initial', await mc.decr('n4', 5, 7));
  } else {
    await outcome('incr-absent', mc.incr('n2', 1));
  }
  step('decr-floor', await mc.decr('n', 100));
  await mc.set('n', 'ten');
  await outcome('incr-text', mc.incr('n', 1));
}

async function doCas(mc) {
  await mc.set('c', 'first');
  const { cas } = await mc.gets('c');
  await outcome('cas', mc.cas('c', 'second', cas));
  step('cas-value', await mc.get('c'));
  await outcome('cas-stale', mc.cas('c', 'other', cas));
  await outcome('cas-absent', mc.cas('c2', 'other', cas));
}

async function doMany(mc) {
  await Promise.all(['a', 'b', 'c'].map((key, index) => mc.set(key, String(index + 1))));
  const found = (await mc.getMany(['a', 'absent', 'c'])).filter(([, value]) => value !== undefined);
  step('multi-get', found.sort().map((pair) => pair.join('=')).join(' '));
  const keys = Array.from({ length: 1000 }, (_, number) => `many-${number}`);
  await Promise.all(keys.map((key) => mc.set(key, `value of ${key}`)));
  const answers = await Promise.all(keys.map((key) => mc.get(key)));
  step('pipeline-1000', answers.filter((text, at) => text === `value of ${keys[at]}`).length);
  const values = new Map(await mc.getMany(keys));
  step('multi-get-1000', keys.filter((key) => values.get(key) === `value of ${key}`).length);
}

async function doValues(mc) {
  const large = Array.from({ length: 250000 }, (_, at) => 1000 + at % 8999).join('');
  await mc.set('large', large);
  same('large', await mc.get('large'), large);
  const other = connect(); // the library memcached leaves a server that refused
  await outcome('too-large', other.set('large', large.repeat(3)));
  other.end();
  step('too-large-dropped', await mc.get('large'));
  await mc.set('k', 'hello');
  step('after-too-large', await mc.get('k'));
  const packed = zlib.gzipSync('again and '.repeat(300000));
  await mc.set('compressed', packed);
  same('compressed', await mc.getBytes('compressed'), packed);
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
  await mc.set('bytes', bytes);
  same('bytes', await mc.getBytes('bytes'), bytes);
  await mc.set('utf8', 'grüße ☃');
  same('utf8', await mc.get('utf8'), 'grüße ☃');
  const key = 'k'.repeat(250);
  await mc.set(key, 'x');
  step('key-250', await mc.get(key) === 'x');
  if (BINARY) {
    await outcome('key-251', connect().set(`${key}k`, 'x')); // the server closes
    await mc.set('a b\r\nc\0d', 'x');
    step('key-binary', await mc.get('a b\r\nc\0d') === 'x');
  } else {
    await doTypes(mc);
  }
}

/* Flags tell the library memcached what it was. */
async function doTypes(mc) {
  const object = { list: [1, 2.5, null], text: 'grüße' };
  await mc.set('object', object);
  same('object', JSON.stringify(await mc.get('object')), JSON.stringify(object));
  await mc.set('number', 42);
  const number = await mc.get('number');
  step('number', typeof number === 'number' ? number : 'no number');
  const prefixed = connect({ namespace: 'shop:' });
  await prefixed.set('k', 'prefixed');
  same('prefix', await mc.get('shop:k'), 'prefixed');
  prefixed.end();
}

async function doTime(mc) {
  await mc.set('k', 'hello');
  step('touch', await mc.touch('k', 100));
  await outcome('touch-absent', mc.touch('absent', 100));
  step('touched', await mc.get('k'));
  if (BINARY) { // the other takes no dates
    await mc.set('past', 'x', 1000000000);
    step('past-date', await mc.get('past'));
    await mc.set('future', 'hello', Math.floor(Date.now() / 1000) + 3000000);
    step('future-date', await mc.get('future'));
  } else {
    await mc.set('past', 'x', -1);
    step('past', await mc.get('past'));
  }
  await mc.set('future', 'hello', 2592000);
  step('future', await mc.get('future'));
  step('flush-again', await mc.flush());
  step('flushed', await mc.get('k'));
}

async function doServer(mc) {
  const stats = await mc.stats();
  step('stats', Number(stats.pid) > 0 && Number(stats.cmd_get) > 0);
  const settings = await mc.stats('settings');
  step('stats-settings', Number(settings.maxbytes) === 64 << 20);
  await mc.set('k', 'hello');
  const slabs = await mc.stats('slabs');
  const words = BINARY ? Object.keys(slabs) : Object.keys(slabs).map((name) => `${name}:`);
  step('stats-slabs', words.some((name) => /^\d+:/.test(name)));
  const items = await mc.stats('items');
  const numbers = BINARY ? Object.keys(items).map((name) => name.split(':')[1]) : Object.keys(items);
  step('stats-items', numbers.some((name) => Number(name) > 0));
  if (BINARY) step('stats-reset', Object.keys(await mc.stats('reset')).length === 0);
}

function linesOf(text) {
  const { lines } = JSON.parse(text);
  return lines.map((line) => `${line.line}=${line.qty}`).join(' ') || 'no lines';
}

async function doCart(mc) {
  const cart = 'cart:u1';
  step('cart-absent', await mc.get(cart));
  await outcome('cart-incr-absent', mc.incr(`${cart}/SKU-1/qty`, 1));
  await outcome('cart-add', mc.add(`${cart}/SKU-1`, '2'));
  await outcome('cart-add-again', mc.add(`${cart}/SKU-1`, '7'));
  step('cart-incr', await mc.incr(`${cart}/SKU-1/qty`, 3));
  step('cart-decr', await mc.decr(`${cart}/SKU-1/qty`, 1));
  step('cart-qty', await mc.get(`${cart}/SKU-1/qty`));
  const wanted = { qty: 3, price: 1999, currency: 'EUR', ext: 'grüße' };
  step('cart-set', await mc.set(`${cart}/SKU-2`, JSON.stringify(wanted)));
  const line = JSON.parse(await mc.get(`${cart}/SKU-2`));
  const { currency } = JSON.parse(await mc.get(cart));
  step('cart-line', `${line.qty} x ${line.price} ${currency} ${line.ext}`);
  step('cart-lines', linesOf(await mc.get(cart)));
  await outcome('cart-replace', mc.replace(`${cart}/SKU-2`, '8'));
  await outcome('cart-replace-absent', mc.replace(`${cart}/SKU-3`, '8'));
  await mc.set('plain', 'a plain value');
  const found = new Map(await mc.getMany([cart, 'cart:absent', 'plain']));
  step('cart-multi-get', `${linesOf(found.get(cart))} and ${found.get('plain')}`);
  await changeWhole(mc, cart);
  await outcome('cart-append', mc.append(cart, 'x'));
  await outcome('cart-no-number', mc.incr(cart, 1));
  await outcome('cart-no-document', mc.set(cart, 'no document'));
  step('cart-touch', await mc.touch(cart, 1000));
  await endCart(mc, cart);
}

async function changeWhole(mc, cart) {
  let text;
  let cas;
  if (BINARY) { // memjs has no cas
    const whole = JSON.parse(await mc.get(cart));
    whole.lines = [{ ...whole.lines[0], qty: 9 }];
    await mc.set(cart, JSON.stringify(whole));
    step('cart-cas-lines', linesOf(await mc.get(cart)));
    return;
  }
  ({ cas, [cart]: text } = await mc.gets(cart));
  await mc.set(`${cart}/SKU-3`, '1');
  await outcome('cart-cas-stale', mc.cas(cart, text, cas));
  ({ cas, [cart]: text } = await mc.gets(cart));
  const whole = JSON.parse(text);
  whole.lines = [{ ...whole.lines[0], qty: 9 }];
  await outcome('cart-cas', mc.cas(cart, JSON.stringify(whole), cas));
  step('cart-cas-lines', linesOf(await mc.get(cart)));
}

async function endCart(mc, cart) {
  await mc.set(`${cart}/SKU-2`, '1');
  step('cart-remove', await mc.delete(`${cart}/SKU-2`));
  await outcome('cart-remove-again', mc.delete(`${cart}/SKU-2`));
  step('cart-removed', await mc.get(`${cart}/SKU-2/qty`));
  await mc.set(`${cart}/SKU-4`, '1');
  await mc.set(`${cart}/SKU-4/qty`, '0');
  step('cart-by-zero', await mc.get(`${cart}/SKU-4`));
  await mc.flush();
  step('cart-after-flush', linesOf(await mc.get(cart)));
  step('cart-decr-to-zero', await mc.decr(`${cart}/SKU-1/qty`, 9));
  step('cart-empty', linesOf(await mc.get(cart)));
  const numbers = Array.from({ length: 150 }, (_, number) => number);
  await Promise.all(numbers.map((number) => mc.set(`${cart}/SKU-${number}`, '2')));
  const whole = JSON.parse(await mc.get(cart));
  step('cart-large', `${whole.count} lines, ${whole.qty} pieces`);
  step('cart-delete', await mc.delete(cart));
  await outcome('cart-delete-again', mc.delete(cart));
  step('cart-deleted', await mc.get(cart));
  step('cart-left', await mc.set('cart:left/SKU-1', '2'));
}

async function doRing(mc) {
  const keys = Array.from({ length: 300 }, (_, number) => `ring-${number}`);
  if (part === 'ring') {
    const stored = await Promise.all(keys.map((key) => mc.set(key, key.slice(5))));
    step('ring-put', stored.filter(Boolean).length);
  }
  const values = new Map(await mc.getMany(keys));
  step('ring-get', keys.filter((key) => values.get(key) === key.slice(5)).length);
}

async function doLogin(mc) {
  const stored = await mc.set('k', 'hello').catch(() => false);
  step('login', Boolean(stored));
  if (stored) step('login-get', await mc.get('k')); // else memjs waits for ever
}

async function main() {
  process.exitCode = 1; // until all is done
  const mc = connect();
  if (part === 'plain') {
    for (const work of [doOneKey, doCounting, BINARY ? null : doCas, doMany, doValues, doTime,
      doServer]) {
      if (work) await work(mc);
    }
  } else {
    await { cart: doCart, ring: doRing, 'ring-get': doRing, login: doLogin }[part](mc);
  }
  mc.end();
  process.exit(0); // both libraries may keep timers
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
