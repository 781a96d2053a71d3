// The server's part of the wire contract (§2, §3) as tests that any server can be put through,
// and the misbehaviours of servers (§4) with what a client must make of them.

import assert from 'node:assert/strict';
import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { it } from 'node:test';
import { Connection } from './client.mjs';
import { Home } from './harness.mjs';
import { LIMITS, capabilityPath, frame, readCapability } from './protocol.mjs';

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const TS = '2026-01-02T03:04:05.678Z';
const OVERSIZED = `NDJSON frame exceeded ${LIMITS.frameBytes} bytes (${LIMITS.frameBytes + 1})`;

/** A message whose frame has exactly `bytes` bytes. */
function sized(token, bytes) {
  const data = 'x'.repeat(bytes - frame({ data: '', ts: TS, token }).length);
  return { data, frame: frame({ data, ts: TS, token }) };
}

const withMeta = (meta) => `{"type":"text","data":"x","meta":${meta}}`;
const withToken = (token) => withMeta(JSON.stringify({ authToken: token }));

/** The error table of §3: what is sent (given the token), and the text of the one error frame. */
const REFUSED = [
  ['what is not JSON', () => '{nope', 'invalid frame'],
  ['two values on one line', (token) => `${frame({ token })} {}`, 'invalid frame'],
  ['an incomplete object', (token) => frame({ token }).slice(0, -1), 'invalid frame'],
  ['a raw control character in a string', (token) => frame({ data: '@', token }).replace('@', '\x01'), 'invalid frame'],
  ['invalid UTF-8', (token) => Buffer.from(frame({ data: '\xff', token }), 'latin1'), 'invalid frame'],
  ['a byte order mark', (token) => `\ufeff${frame({ token })}`, 'invalid frame'],
  ['white space that is not of JSON', () => '\v', 'invalid frame'],
  ['null', () => 'null', 'invalid frame'],
  ['a number', () => '1', 'unauthorized'],
  ['a string', (token) => JSON.stringify(token), 'unauthorized'],
  ['a boolean', () => 'true', 'unauthorized'],
  ['an array', (token) => `[${frame({ token })}]`, 'unauthorized'],
  ['no meta', () => '{"type":"text","data":"x"}', 'unauthorized'],
  ['null as meta', () => withMeta('null'), 'unauthorized'],
  ['the token as meta', (token) => withMeta(JSON.stringify(token)), 'unauthorized'],
  ['meta without a token', () => withMeta('{}'), 'unauthorized'],
  ['an empty token', () => withToken(''), 'unauthorized'],
  ['a token that is not a string', (token) => withToken([token]), 'unauthorized'],
  ['a wrong token', () => withToken('f'.repeat(64)), 'unauthorized'],
  ['a wrong last digit', (token) => withToken(token.slice(0, -1) + (token.endsWith('0') ? '1' : '0')), 'unauthorized'],
  ['a token cut short', (token) => withToken(token.slice(0, -1)), 'unauthorized'],
  ['a token and more', (token) => withToken(`${token}0`), 'unauthorized'],
  ['a token beside meta', (token) => JSON.stringify({ type: 'text', authToken: token }), 'unauthorized'],
  ['a ping without a token', () => '{"type":"ping"}', 'unauthorized'],
  ['a frame of 65537 bytes', (token) => sized(token, LIMITS.frameBytes + 1).frame, OVERSIZED],
];

/** No two parsers may disagree on who was authorised (§3). */
const DUPLICATES = [
  ['type', (token) => `{"type":"ping",${frame({ token }).slice(1)}`],
  ['type, once escaped', (token) => `{"t\\u0079pe":"ping",${frame({ token }).slice(1)}`],
  ['meta, the good one last', (token) => `{"meta":{},${frame({ token }).slice(1)}`],
  ['meta, the good one first', (token) => `${frame({ token }).slice(0, -1)},"meta":{}}`],
  ['authToken, the good one last', (token) => withMeta(`{"authToken":"x","authToken":"${token}"}`)],
  ['authToken, the good one first', (token) => withMeta(`{"authToken":"${token}","authToken":"x"}`)],
  ['authToken, once escaped', (token) => withMeta(`{"authToken":"${token}","auth\\u0054oken":"${token}"}`)],
];

/** JSON that JavaScript peers really produce, as it must be kept. */
const KEPT = [
  ['a lone high surrogate', '{"type":"text","data":"cut \\ud83d"}'],
  ['a lone low surrogate', '{"type":"text","data":"\\ude00 cut"}'],
  ['an escaped NUL', '{"type":"text","data":"\\u0000"}'],
  ['numbers beyond u64 and f64', '{"type":"text","data":[18446744073709551616,-0,1e400,0.10000000000000000555111512312578]}'],
  ['nesting of 128', `{"type":"text","data":${'['.repeat(127)}${']'.repeat(127)}}`],
  ['an object as data', '{"type":"text","data":{"b":1,"a":{"type":"ping"}}}'],
  ['a number as data', '{"type":"text","data":1.50}'],
  ['null as data', '{"type":"text","data":null}'],
  ['no data', '{"type":"text"}'],
  ['__proto__ as a key', '{"type":"text","__proto__":{"authToken":"x"},"data":{"__proto__":1,"constructor":2}}'],
  ['duplicate keys that are not interpreted', '{"type":"text","data":{"type":1,"type":2,"meta":1,"meta":2}}'],
  ['an unknown type and unknown members', '{"type":"x-future","v":2,"data":"x","from":7}'],
];

/** Splits in the middle of every multibyte character: each split must leave the message whole. */
const SPLITS = ['é', '日', '🚪'].flatMap((char) =>
  Array.from({ length: Buffer.byteLength(char) - 1 }, (_, i) => ({ data: `a${char}b`, char, cut: i + 1 })),
);

/**
 * Puts a server through the contract.
 *
 * `start(home, options)` starts one and gives its child process, its socket, and `next()`: the next message that it
 * prints, as raw JSON text. `options.hold` keeps messages in the inbox. `traits` tells where servers may differ:
 * `lossless` (messages come out as the very bytes), `refusesDuplicates`, `overcrowded` (what the 129th client is
 * told), `idleMs`.
 */
export function serverContract(start, traits) {
  const scenario = (name, body, options) =>
    it(name, async (t) => {
      const home = new Home(t);
      const server = await start(home, { hold: false, ...options });
      const token = readCapability(home.config, server.socket);
      assert.match(token, /^[0-9a-f]{64}$/);
      home.keepSecret(token);

      /** Writes chunks with the client's `raw`; ends with the replies, and with how the connection ended. */
      const raw = async (chunks, ...flags) => {
        const input = chunks.map((chunk) => `${Buffer.from(chunk).toString('base64')}\n`).join('');
        const { code, events } = await home.client('raw', server.socket, flags, input);
        const failed = events.find(({ event }) => event === 'failed')?.reason;
        const replies = events.filter(({ event }) => event === 'reply').map((event) => event.frame);
        return { code, failed, replies, ended: events.find(({ event }) => event === 'ended')?.how };
      };
      const send = async (data) => {
        const { code, events } = await home.client('send', server.socket, [data]);
        assert.equal(code, 0, JSON.stringify(events));
        return events[0].frame;
      };
      await body({ t, home, server, token, raw, send });
    });

  /** One error frame with this text after these many answers, and then the end. */
  const assertRefused = (outcome, reason, answers = 0) => {
    assert.deepEqual(outcome.replies.slice(0, answers).map(({ type }) => type), Array(answers).fill('response'));
    const [{ ts, ...error }, ...more] = outcome.replies.slice(answers);
    assert.deepEqual(error, { type: 'error', data: reason });
    assert.match(ts, ISO);
    assert.deepEqual(more, []);
    assert.equal(outcome.ended, 'eof', outcome.failed);
    assert.equal(outcome.code, 0);
  };
  const assertOk = (reply, n) => {
    const { ts, ...rest } = reply;
    assert.deepEqual(rest, { type: 'response', data: 'ok', meta: { id: `uds-${n}` } });
    assert.match(ts, ISO);
  };

  // What is accepted

  scenario('takes a text, and hides nothing of it but the token', async ({ home, server }) => {
    const { code, events } = await home.client('send', server.socket, ['--from', '/tmp/me', 'héllo 🚪']);
    assert.equal(code, 0);
    assertOk(events[0].frame, 1);
    const message = JSON.parse(await server.next());
    assert.deepEqual({ ...message, ts: '' }, { type: 'text', data: 'héllo 🚪', ts: '', from: '/tmp/me' });
    assert.deepEqual(Object.keys(message), ['type', 'data', 'ts', 'from']);
  });

  scenario('answers a ping and does not enqueue it', async ({ home, server, send }) => {
    const { code, events } = await home.client('ping', server.socket);
    assert.equal(code, 0);
    const { ts, ...pong } = events[0].frame;
    assert.deepEqual(pong, { type: 'pong', from: server.socket });
    assert.match(ts, ISO);
    assertOk(await send('first'), 1);
  });

  scenario('skips blank lines and takes a CR before LF', async ({ token, server, raw }) => {
    const { replies } = await raw([`\n \t\r\n\r\n${frame({ data: 'x', token })}\r\n`], '--replies', '1');
    assertOk(replies[0], 1);
    assert.equal(JSON.parse(await server.next()).data, 'x');
  });

  scenario('takes a frame of exactly 65536 bytes', async ({ token, server, raw }) => {
    const largest = sized(token, LIMITS.frameBytes);
    assert.equal(Buffer.byteLength(largest.frame), LIMITS.frameBytes);
    const { replies } = await raw([`${largest.frame}\n`], '--replies', '1');
    assertOk(replies[0], 1);
    assert.equal(JSON.parse(await server.next()).data, largest.data);
  });

  scenario('keeps what else is in meta', async ({ token, server, raw }) => {
    const meta = `{"a":1,"authToken":"${token}","b":{"authToken":"kept"}}`;
    const { replies } = await raw([`${withMeta(meta)}\n`], '--replies', '1');
    assertOk(replies[0], 1);
    assert.equal(await server.next(), withMeta('{"a":1,"b":{"authToken":"kept"}}'));
  });

  for (const [name, kept] of KEPT) {
    scenario(`keeps ${name}`, async ({ token, server, raw }) => {
      const { replies } = await raw([`${kept.slice(0, -1)},"meta":{"authToken":"${token}"}}\n`], '--replies', '1');
      assertOk(replies[0], 1);
      const message = await server.next();
      if (traits.lossless) assert.equal(message, kept);
      else assert.equal(message, JSON.stringify(JSON.parse(kept)));
    });
  }

  scenario('survives the deepest nesting that fits into a frame', async ({ token, raw, send }) => {
    const deep = `{"meta":{"authToken":"${token}"},"data":${'['.repeat(32_000)}${']'.repeat(32_000)}}\n`;
    const { replies } = await raw([deep], '--replies', '1');
    assert.equal(replies.length, 1);
    assert.equal((await send('next')).data, 'ok');
  });

  // How bytes arrive

  scenario('answers 500 pipelined messages in order, with gapless ids', async ({ home, server }) => {
    const { code, events } = await home.client('pipeline', server.socket, ['500']);
    assert.equal(code, 0, JSON.stringify(events.at(-1)));
    assert.equal(events.length, 500);
    for (const [i, event] of events.entries()) {
      assertOk(event.frame, i + 1);
      assert.equal(JSON.parse(await server.next()).data, `message ${i + 1}`);
    }
  });

  scenario('puts characters together that were split over writes', async ({ token, server, raw }) => {
    // Each write ends inside a character of the next message, and waits for the answer to the one before.
    const chunks = [Buffer.from(`${frame({ type: 'ping', token })}\n`)];
    for (const { data, char, cut } of SPLITS) {
      const bytes = Buffer.from(`${frame({ data, token })}\n`);
      const at = bytes.indexOf(char) + cut;
      chunks.push(Buffer.concat([chunks.pop(), bytes.subarray(0, at)]), bytes.subarray(at));
    }
    const { code, replies } = await raw(chunks, '--pace', 'ack', '--replies', String(SPLITS.length + 1));
    assert.equal(code, 0);
    assert.equal(replies[0].type, 'pong');
    for (const [i, { data }] of SPLITS.entries()) {
      assertOk(replies[i + 1], i + 1);
      assert.equal(JSON.parse(await server.next()).data, data);
    }
  });

  scenario('takes a frame that comes one byte a write', async ({ token, server, raw }) => {
    const chunks = Array.from(Buffer.from(`${frame({ data: 'é日🚪', token })}\n`), (byte) => Buffer.of(byte));
    const { replies } = await raw(chunks, '--pace', 'turn', '--replies', '1');
    assertOk(replies[0], 1);
    assert.equal(JSON.parse(await server.next()).data, 'é日🚪');
  });

  scenario('answers all complete frames after a half-close, then ends', async ({ home, server, send }) => {
    const { code, events } = await home.client('half-close', server.socket, ['20']);
    assert.equal(code, 0, JSON.stringify(events.at(-1)));
    for (const [i, event] of events.slice(0, -1).entries()) assertOk(event.frame, i + 1);
    assert.deepEqual(events.at(-1), { event: 'ended', how: 'eof' });
    assertOk(await send('next'), 21);
  });

  // What is refused

  const refused = traits.refusesDuplicates
    ? [...REFUSED, ...DUPLICATES.map(([name, bytes]) => [`duplicate ${name}`, bytes, 'invalid frame'])]
    : REFUSED;
  for (const [name, bytes, reason] of refused) {
    scenario(`refuses ${name}`, async ({ token, server, raw, send }) => {
      const after = `\n${frame({ data: 'after the error', token })}\n`;
      assertRefused(await raw([Buffer.concat([Buffer.from(bytes(token)), Buffer.from(after)])]), reason);
      assertOk(await send('sentinel'), 1);
      assert.equal(JSON.parse(await server.next()).data, 'sentinel');
    });
  }

  scenario('refuses 65537 bytes before their newline has come', async ({ token, raw }) => {
    assertRefused(await raw([sized(token, LIMITS.frameBytes + 1).frame]), OVERSIZED);
  });

  scenario('keeps what came before an error and nothing after it', async ({ token, server, raw, send }) => {
    const [before, after] = ['before', 'after'].map((data) => frame({ data, token }));
    assertRefused(await raw([`${before}\n${before}\nnope\n${after}\n{}\n${after}\n`]), 'invalid frame', 2);
    assertOk(await send('sentinel'), 3);
    for (const data of ['before', 'before', 'sentinel']) assert.equal(JSON.parse(await server.next()).data, data);
  });

  scenario('takes nothing that it reads after an error', async ({ token, raw, server, send }) => {
    // More than one read, each of them ending with a line: all lines have 256 bytes.
    const message = `${sized(token, 255).frame}\n`;
    const lines = 'nope'.padEnd(255) + '\n' + message.repeat((2 * LIMITS.frameBytes) / message.length);
    const { replies } = await raw([lines]);
    assert.deepEqual(replies.map(({ type, data }) => [type, data]), [['error', 'invalid frame']]);
    assertOk(await send('sentinel'), 1);
    assert.equal(JSON.parse(await server.next()).data, 'sentinel');
  });

  scenario('is not impressed by blank and partial frames: authentication timeout', async ({ token, raw }) => {
    const begun = performance.now();
    assertRefused(await raw([`\n \r\n${frame({ token })}`]), 'authentication timeout');
    assert.ok(performance.now() - begun > LIMITS.authMs - 10, 'it came too early');
  });

  scenario('lets an authenticated client idle for a while, then ends: idle timeout', async ({ token, raw }) => {
    const begun = performance.now();
    const ping = `${frame({ type: 'ping', token })}\n`;
    const { replies, ...outcome } = await raw([ping], '--timeout-ms', String(traits.idleMs + 10_000));
    assert.equal(replies.shift().type, 'pong');
    assertRefused({ replies, ...outcome }, 'idle timeout');
    assert.ok(performance.now() - begun > traits.idleMs - 10, 'it came too early');
  });

  scenario('refuses the 1001st entry: inbox full', async ({ token, raw }) => {
    const messages = `${frame({ data: 'x', token })}\n`.repeat(LIMITS.inboxEntries + 1);
    const outcome = await raw([messages], '--timeout-ms', '20000');
    assertRefused(outcome, 'inbox full', LIMITS.inboxEntries);
    assertOk(outcome.replies[LIMITS.inboxEntries - 1], LIMITS.inboxEntries);
  }, { hold: true });

  scenario('refuses what goes over 2 MiB: inbox full', async ({ token, raw }) => {
    const message = `${frame({ data: 'x'.repeat(60_000), token })}\n`;
    const fitting = Math.floor(LIMITS.inboxBytes / 60_500); // the same with and without the token
    assertRefused(await raw([message.repeat(fitting + 1)], '--timeout-ms', '20000'), 'inbox full', fitting);
  }, { hold: true });

  scenario('has room for 128 authenticated clients, and not for one more', async ({ t, token, server }) => {
    const open = async () => {
      const client = await Connection.open(server.socket, 20_000);
      t.after(() => client.close());
      return client;
    };
    for (let n = 0; n < LIMITS.clients; n += 1) {
      const client = await open();
      client.write(`${frame({ type: 'ping', token })}\n`);
      assert.equal((await client.expect('pong')).from, server.socket);
    }
    const extra = await open();
    const told = [];
    for (let line; (line = await extra.replies.next()) !== undefined; ) told.push(JSON.parse(line));
    assert.deepEqual(told.map(({ type, data }) => [type, data]), traits.overcrowded.map((data) => ['error', data]));
    assert.equal(await extra.replies.ended, 'eof');
  });

  // Files

  scenario('keeps its files private and removes them when it stops', async ({ home, server, token }) => {
    const capability = capabilityPath(home.config, server.socket);
    for (const file of [capability, server.socket]) {
      assert.equal(lstatSync(file).mode & 0o777, 0o600, file);
      assert.equal(lstatSync(dirname(file)).mode & 0o777, 0o700, dirname(file));
    }
    assert.equal(readFileSync(capability, 'utf8'), `{"socketPath":${JSON.stringify(server.socket)},"authToken":"${token}"}`);
    assert.equal(await server.child.stop(), 0);
    assert.deepEqual([capability, server.socket].filter(existsSync), []);
  });
}

/**
 * How a server can misbehave: its fault, what the client tries, the exit code of `hallway` (the JavaScript client
 * knows 0 and 1 only), and words that the user must see. Any error frame is a refusal (4), `inbox full` apart (6);
 * nonsense for an answer fails a send (1), and for a ping means that no session is there (7).
 */
export const FAULTS = [
  ['unknown-frames-first', 'send', 0],
  ['unknown-frames-first', 'ping', 0],
  ['largest-response', 'send', 0],
  ['slow-ms:1000', 'send', 0],
  ['slow-ms:1000', 'ping', 0],
  ['close-before-response', 'send', 1, 'ended before response'],
  ['close-before-response', 'ping', 7],
  ['null-response', 'send', 1],
  ['null-response', 'ping', 7],
  ['invalid-json', 'send', 1],
  ['invalid-json', 'ping', 7],
  ['oversized-response', 'send', 1],
  ['error:no room at the inn', 'send', 4, 'no room at the inn'],
  ['split-multibyte', 'send', 4, 'späť 日本 🚪'],
  ['error:unauthorized', 'send', 4, 'unauthorized'],
  ['error:unauthorized', 'ping', 4, 'unauthorized'],
  ['error:inbox full', 'send', 6, 'inbox full'],
  ['never-answer', 'send', 5],
  ['never-answer', 'ping', 5],
  ['drip', 'send', 5],
  ['drip', 'ping', 5],
  ['pong-substring', 'send', 5],
  ['pong-substring', 'ping', 5],
];
