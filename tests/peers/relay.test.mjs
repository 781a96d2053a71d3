// `hallway relay` against a server by the npm package `socket.io`, and the ciphers of `node:crypto` and `tweetnacl`
// (relay.md). HALLWAY_BIN names the program.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import nacl from 'tweetnacl';
import { Home } from './harness.mjs';
import { box, Cipher, RelayServer, unbox } from './relay.mjs';

if (!process.env.HALLWAY_BIN) {
  throw new Error('HALLWAY_BIN must name the hallway binary, for example HALLWAY_BIN=target/debug/hallway');
}

const BIN = resolve(process.env.HALLWAY_BIN);
const TOKEN = 'tok.node-5ecre7';
const WORD = 'PLAINTEXT-5ecre7';
const VARIANTS = ['legacy', 'dataKey'];
const base64 = (bytes) => Buffer.from(bytes).toString('base64');
const user = (text) => ({ role: 'user', content: { type: 'text', text }, meta: { sentFrom: 'web' } });

/** The next line that tells one of `events`. */
async function next(child, ...events) {
  for (;;) {
    const line = JSON.parse(await child.next());
    if (events.includes(line.event)) return line;
  }
}

const say = (child, line) => child.process.stdin.write(`${JSON.stringify(line)}\n`);

/** Stops it as Ctrl-C does. */
async function interrupt(child) {
  child.process.kill('SIGINT');
  assert.equal(await child.closed, 0, child.stderr);
}

/** A server, and a home that is paired with it. */
async function stage(t, { variant = 'legacy', engine = {}, token = TOKEN } = {}) {
  const server = await RelayServer.start(t, engine);
  const home = new Home(t);
  const happy = join(home.dir, '.happy');
  Object.assign(home.env, { HAPPY_HOME_DIR: happy, HAPPY_SERVER_URL: server.url });
  server.tokens.add(TOKEN);
  const secret = randomBytes(32);
  const content = nacl.box.keyPair();
  const keys = { publicKey: base64(content.publicKey), machineKey: base64(randomBytes(32)) };
  mkdirSync(happy);
  const access = variant === 'legacy' ? { secret: base64(secret), token } : { encryption: keys, token };
  writeFileSync(join(happy, 'access.key'), JSON.stringify(access));
  for (const known of [token, base64(secret), keys.machineKey]) home.keepSecret(known);
  const start = (...more) => home.start(BIN, ['--json', 'relay', ...more]);
  /** A mirror that is connected, and the app's cipher. */
  const mirror = async (...more) => {
    const child = start('mirror', '--tag', 't', ...more);
    await next(child, 'connected');
    const wrapped = server.session.dataEncryptionKey;
    const key = variant === 'legacy' ? secret : unbox(wrapped, content.secretKey);
    return { child, cipher: new Cipher(key, variant) };
  };
  return { home, happy, server, start, mirror, secret, content };
}

/** What was stored under an id of ours, opened, once there are `count`. */
async function stored(server, cipher, count) {
  const ours = () => server.session.messages.filter(({ localId }) => localId);
  await server.until(`${count} messages`, () => ours().length >= count);
  assert.equal(new Set(ours().map(({ localId }) => localId)).size, ours().length);
  return ours().map(({ content }) => cipher.open(content.c));
}

describe('hallway relay and socket.io', { concurrency: 4, timeout: 120_000 }, () => {
  for (const variant of VARIANTS) {
    it(`is paired by a ${variant} answer of tweetnacl`, async (t) => {
      const server = await RelayServer.start(t);
      const home = new Home(t);
      Object.assign(home.env, { HAPPY_HOME_DIR: join(home.dir, 'h'), HAPPY_SERVER_URL: server.url });
      const child = home.start(BIN, ['--json', 'relay', 'pair']);
      const { url } = await next(child, 'pairing');
      const terminal = Buffer.from(url.replace('happy://terminal?', ''), 'base64url');
      const bytes = randomBytes(32);
      const plaintext = variant === 'legacy' ? bytes : Buffer.concat([Buffer.of(0), bytes]);
      for (const known of [TOKEN, base64(bytes)]) if (variant === 'legacy') home.keepSecret(known);
      server.pairings.set(base64(terminal), { token: TOKEN, response: box(plaintext, terminal) });
      assert.equal((await next(child, 'paired')).variant, variant);
      const access = JSON.parse(readFileSync(join(home.dir, 'h', 'access.key')));
      assert.equal(access.token, TOKEN);
      assert.equal(variant === 'legacy' ? access.secret : access.encryption.publicKey, base64(bytes));
    });

    it(`speaks both ways in ${variant}, and only sealed`, async (t) => {
      const { server, mirror } = await stage(t, { variant });
      const { child, cipher } = await mirror();
      server.store(server.session, cipher.seal(user(WORD)));
      const heard = await next(child, 'message');
      assert.deepEqual([heard.from, heard.text, heard.message], ['user', WORD, user(WORD)]);
      const usage = { input_tokens: 3, output_tokens: 4 };
      say(child, { kind: 'claude', line: { type: 'assistant', uuid: 'u', message: { usage } } });
      say(child, { kind: 'codex', data: { text: `${WORD} é\u{1f600}` } });
      say(child, { kind: 'message', message: WORD });
      const [claude, codex, bare] = await stored(server, cipher, 3);
      assert.equal(claude.content.type, 'output');
      assert.deepEqual(codex.content, { type: 'codex', data: { text: `${WORD} é\u{1f600}` } });
      assert.equal(bare, WORD);
      await server.until('the usage', () => server.usage.length === 1);
      assert.equal(server.usage[0].tokens.total, 7);
      say(child, { kind: 'state', set: { controlledByUser: true, note: WORD } });
      await server.until('the state', () => server.session.agentState);
      assert.deepEqual(cipher.open(server.session.agentState), { controlledByUser: true, note: WORD });
      await interrupt(child);
      assert.equal(cipher.open(server.session.metadata).lifecycleState, 'archived');
      assert.equal(server.received().includes(WORD), false);
      await server.until('the end', () => server.left.length === 1 && !server.session.active);
    });
  }

  for (const variant of VARIANTS) {
    // Covers: R1.28, R2.23, R2.24
    it(`keeps the machine in ${variant}`, async (t) => {
      const { home, server, mirror, secret, content } = await stage(t, { variant });
      const { child } = await mirror('--machine');
      const machine = await server.until('a machine', () => [...server.machines.values()][0]);
      await server.until('its state', () => machine.daemonStateVersion === 1 && machine.active);
      const key = variant === 'legacy' ? secret : unbox(machine.dataEncryptionKey, content.secretKey);
      if (variant === 'dataKey') home.keepSecret(base64(key));
      const cipher = new Cipher(key, variant);
      const { machineId } = JSON.parse(readFileSync(join(home.dir, '.happy', 'settings.json')));
      assert.equal(machine.id, machineId);
      assert.deepEqual(cipher.open(machine.daemonState).pid, child.pid);
      assert.equal(cipher.open(machine.metadata).happyHomeDir, join(home.dir, '.happy'));
      assert.ok(Math.abs(machine.activeAt - Date.now()) < 60_000, 'Unix time in milliseconds');
      assert.deepEqual(server.sockets.map(({ handshake }) => handshake.auth.clientType).sort(), ['machine-scoped', 'session-scoped']);
      await interrupt(child);
      assert.equal(cipher.open(machine.daemonState).status, 'shutting-down');
      await server.until('both ends', () => server.left.length === 2);
    });
  }

  // Covers: R1.13, R1.30, R9.5
  it('is refused with its reason, and does not come back', async (t) => {
    for (const isOld of [false, true]) {
      const { server, start } = await stage(t);
      // The token is good for HTTP alone; an old server says so when it has accepted.
      server.faults.old = isOld;
      server.faults.refuse = 'Invalid authentication token';
      const child = start('mirror');
      const { reason, said } = await next(child, 'closed');
      assert.match(`${reason} ${said}`, /Invalid authentication token/);
      const { code, stderr } = await child.finish();
      assert.equal(code, 4, stderr);
      assert.deepEqual([server.dials, server.joined.length], [1, isOld ? 1 : 0]);
    }
  });

  // Covers: R1.15, R9.3b
  it('writes a value upon what another has written', async (t) => {
    const { server, mirror } = await stage(t);
    const { child, cipher } = await mirror();
    server.faults.raceMetadata = (sealed) => cipher.seal({ ...cipher.open(sealed), other: 1 });
    say(child, { kind: 'metadata', set: { name: 'n' } });
    const metadata = () => cipher.open(server.session.metadata);
    await server.until('the name', () => metadata().name === 'n');
    assert.deepEqual([metadata().other, typeof metadata().host], [1, 'string']);
    assert.equal((await next(child, 'updated')).outcome, 'applied');
    await interrupt(child);
  });

  // Covers: R1.15, R9.4c
  it('answers calls by acknowledgements', async (t) => {
    const { home, server, mirror } = await stage(t);
    writeFileSync(join(home.dir, 'file'), WORD);
    writeFileSync(join(home.dir, 'large'), 'x'.repeat(800_000));
    const { child, cipher } = await mirror('--directory', home.dir, '--allow-rpc', 'readFile');
    const call = async (name, params) =>
      cipher.open(await server.call(`${server.session.id}:${name}`, typeof params === 'string' ? params : cipher.seal(params)));
    assert.deepEqual(await call('readFile', { path: 'file' }), { success: true, content: base64(WORD) });
    // Longer than a frame may be: an error that the app can show, and the socket stays.
    const large = await call('readFile', { path: 'large' });
    assert.equal(typeof large.error, 'string', JSON.stringify(large).slice(0, 200));
    assert.equal(typeof (await call('permission', base64(randomBytes(60)))).error, 'string');
    const asked = call('permission', { id: 'p' });
    const { id, params } = await next(child, 'call');
    assert.deepEqual(params, { id: 'p' });
    say(child, { kind: 'answer', id, result: { ok: WORD } });
    assert.deepEqual(await asked, { ok: WORD });
    assert.equal(server.received().includes(WORD), false);
    assert.equal(server.joined.length, 1);
    await interrupt(child);
  });

  // Covers: R1.5
  it('answers the heartbeats of the engine', async (t) => {
    const { server, mirror } = await stage(t, { engine: { pingInterval: 20, pingTimeout: 20_000 } });
    const { child } = await mirror();
    await server.until('heartbeats', () => server.heartbeats >= 20);
    assert.deepEqual([server.joined.length, server.left.length], [1, 0]);
    await interrupt(child);
  });

  it('asks whether the server is there, and hears that it is', async (t) => {
    const { server, mirror } = await stage(t);
    const { child } = await mirror();
    await server.until('two pings', () => server.events.filter((name) => name === 'ping').length >= 2);
    assert.equal(server.joined.length, 1);
    await interrupt(child);
  });

  // Covers: R1.22, R9.2c, R9.2e
  it('comes back when the server leaves, and loses nothing either way', async (t) => {
    const { server, mirror } = await stage(t);
    const { child, cipher } = await mirror();
    const ends = [
      (socket) => socket.disconnect(), // a packet of Socket.IO's
      (socket) => socket.disconnect(true), // one of the engine's
      (socket) => socket.conn.close(),
      (socket) => socket.conn.transport.socket.terminate(),
      (socket) => socket.emit('bytes', Buffer.of(1, 2)), // which this client takes for a violation
    ];
    for (const [number, end] of ends.entries()) {
      const [socket] = server.sockets;
      end(socket);
      await next(child, 'reconnecting');
      say(child, { kind: 'message', message: number });
      server.store(server.session, cipher.seal(user(`away ${number}`)));
      // By HTTP it may come before the socket does.
      const told = [await next(child, 'connected', 'message'), await next(child, 'connected', 'message')];
      const [message] = told.filter(({ event }) => event === 'message');
      assert.equal(message.text, `away ${number}`);
      assert.equal(told.filter(({ event }) => event === 'connected').length, 1);
    }
    assert.deepEqual(await stored(server, cipher, ends.length), [0, 1, 2, 3, 4]);
    server.store(server.session, cipher.seal(user('last')));
    assert.equal((await next(child, 'message')).text, 'last', 'nothing comes twice');
    assert.equal(server.joined.length, ends.length + 1);
    await interrupt(child);
  });

  // Covers: R9.1d, R9.1e
  it('sends by its socket to a server without the durable route', async (t) => {
    const { server, mirror } = await stage(t);
    server.faults.noV3 = true;
    const { child, cipher } = await mirror();
    for (const number of [0, 1, 2]) {
      say(child, { kind: 'message', message: number });
      await next(child, 'stored');
    }
    assert.deepEqual(await stored(server, cipher, 3), [0, 1, 2]);
    assert.equal(server.events.filter((name) => name === 'message').length, 3);
    await interrupt(child);
  });
});
