// `hallway session` against a server by the npm package `ws` (sessions.md). HALLWAY_BIN names the program.

import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { describe, it } from 'node:test';
import { Home } from './harness.mjs';
import { ORGANIZATION, SESSION, SessionServer } from './session.mjs';

if (!process.env.HALLWAY_BIN) {
  throw new Error('HALLWAY_BIN must name the hallway binary, for example HALLWAY_BIN=target/debug/hallway');
}

const BIN = resolve(process.env.HALLWAY_BIN);
const TOKEN = 'tok-node-5ecre7';
const PERMISSION = {
  type: 'control_request', request_id: 'r1',
  request: { subtype: 'can_use_tool', tool_name: 'Bash', input: { command: 'ls' }, tool_use_id: 't1' },
};

/** A home, a server, and what starts `hallway session` for it. */
async function stage(t, token = TOKEN) {
  const server = await SessionServer.start(t, token);
  const home = new Home(t);
  home.keepSecret(TOKEN);
  home.env.HALLWAY_ACCESS_TOKEN = TOKEN;
  const start = (verb, ...more) =>
    home.start(BIN, ['session', verb, SESSION, '--org', ORGANIZATION, '--base-url', server.base, ...more]);
  return { server, start };
}

const next = async (child) => JSON.parse(await child.next());

describe('hallway session and ws', { concurrency: 8, timeout: 120_000 }, () => {
  // Covers: S1.1, S1.3, S2.6, S2.14
  it('follows, answers and leaves', async (t) => {
    const { server, start } = await stage(t);
    const child = start('follow');
    const connection = await server.connection();
    assert.equal(connection.headers['sec-websocket-version'], '13');
    assert.equal(connection.headers['sec-websocket-extensions'], undefined);
    assert.deepEqual(await next(child), { event: 'connected' });
    const text = '{"type":"assistant", "message":{"content":"\u{1f600}\\ud800"}}';
    connection.send(text);
    assert.equal(await child.next(), text);
    connection.send(PERMISSION);
    assert.deepEqual(await next(child), PERMISSION);
    assert.deepEqual(await next(child), { event: 'request', requestId: 'r1', subtype: 'can_use_tool' });
    child.process.stdin.write('{"answer":"r1","behavior":"allow","updatedInput":{"command":"pwd"}}\n');
    assert.deepEqual(await connection.json(), {
      type: 'control_response',
      response: { subtype: 'success', request_id: 'r1', response: { behavior: 'allow', updatedInput: { command: 'pwd' } } },
    });
    connection.send({ ...PERMISSION, request: { subtype: 'foo' } });
    await next(child);
    assert.equal((await next(child)).event, 'request-refused');
    const { response } = await connection.json();
    assert.deepEqual(response, { subtype: 'error', request_id: 'r1', error: 'Unsupported control request subtype: foo' });
    assert.equal(await child.stop(), 0);
    assert.equal(await connection.closed, 1000);
  });

  it('pings, and answers pings', async (t) => {
    const { server, start } = await stage(t);
    const child = start('follow', '--limit', 'ping_interval=200');
    const connection = await server.connection();
    assert.deepEqual(await next(child), { event: 'connected' });
    for (let n = 0; n < 3; n += 1) await connection.pings.next();
    const pong = new Promise((resolve) => connection.socket.once('pong', (data) => resolve(data.toString())));
    connection.socket.ping('are you there');
    assert.equal(await pong, 'are you there');
    assert.equal(server.dials, 1);
  });

  // Covers: S2.1
  it('takes large and fragmented messages whole', async (t) => {
    const { server, start } = await stage(t);
    const child = start('follow');
    const connection = await server.connection();
    await next(child);
    const large = JSON.stringify({ type: 'x', text: 'é'.repeat(4_000_000) });
    connection.send(large);
    assert.equal(await child.next(), large);
    for (const part of ['{"type"', ':', '"x"']) connection.socket.send(part, { fin: false });
    connection.socket.ping();
    connection.socket.send('}', { fin: true });
    assert.equal(await child.next(), '{"type":"x"}');
  });

  it('comes back after closes, resets and refusals', async (t) => {
    const { server, start } = await stage(t);
    const child = start('follow', '--seed', '51384'); // whose first delays are short
    const ends = [(socket) => socket.close(1012), (socket) => socket.terminate(), (socket) => socket.close(4001, 'compacting')];
    for (const end of ends) {
      const connection = await server.connection();
      assert.deepEqual(await next(child), { event: 'connected' });
      connection.send({ type: 'keep_alive' });
      await next(child);
      server.refusals.push(end === ends[1] ? 503 : 101);
      end(connection.socket);
      assert.equal((await next(child)).event, 'reconnecting');
      if (end === ends[1]) assert.equal((await next(child)).attempt, 2);
    }
    const connection = await server.connection();
    assert.deepEqual(await next(child), { event: 'connected' });
    connection.socket.close(4003);
    const { event, reason } = await next(child);
    assert.deepEqual([event, reason], ['closed', 'the token was refused']);
    const { code } = await child.finish();
    assert.equal(code, 4);
    assert.equal(server.dials, 5);
  });

  // Covers: S3.8c, S3.12
  it('leaves a session that is never found, by the reference’s timing', async (t) => {
    const { server, start } = await stage(t);
    const child = start('follow', '--profile', 'fixed');
    const delays = [];
    for (let dials = 1; ; dials += 1) {
      const connection = await server.connection();
      assert.deepEqual(await next(child), { event: 'connected' });
      connection.socket.close(4001);
      const last = await next(child);
      if (last.event === 'closed') break;
      delays.push(last.delayMs);
    }
    assert.deepEqual(delays, [2_000, 4_000, 6_000]);
    assert.equal((await child.finish()).code, 3);
    assert.equal(server.dials, 4);
  });

  // Covers: S3.10b
  it('gives up on a wrong token at once', async (t) => {
    const { server, start } = await stage(t, 'another');
    const { code } = await start('follow').finish();
    assert.equal(code, 4);
    assert.equal(server.dials, 1);
  });

  // Covers: S2.16, S2.17
  it('sends a message of the user', async (t) => {
    const { server, start } = await stage(t);
    const child = start('send', '--json', 'héllo "you"');
    const { headers, body } = await server.post();
    assert.equal(headers['anthropic-beta'], 'ccr-byoc-2025-07-29');
    assert.equal(headers['x-organization-uuid'], ORGANIZATION);
    const { code, lines } = await child.finish();
    assert.equal(code, 0);
    const { id } = JSON.parse(lines[0]);
    assert.deepEqual(body, {
      events: [{
        uuid: id, session_id: SESSION, type: 'user', parent_tool_use_id: null,
        message: { role: 'user', content: 'héllo "you"' },
      }],
    });
  });

  it('interrupts', async (t) => {
    const { server, start } = await stage(t);
    const child = start('interrupt');
    const connection = await server.connection();
    const { request_id, request } = await connection.json();
    assert.deepEqual(request, { subtype: 'interrupt' });
    connection.send({ type: 'control_response', response: { subtype: 'success', request_id } });
    assert.equal((await child.finish()).code, 0);
    assert.equal(await connection.closed, 1000);
  });
});
