// The real `hallway` against JavaScript peers, both ways: wire contract §2 to §4.
// HALLWAY_BIN names the binary: HALLWAY_BIN=target/debug/hallway node --test tests/peers/

import assert from 'node:assert/strict';
import { accessSync, constants } from 'node:fs';
import { resolve } from 'node:path';
import { describe, it } from 'node:test';
import { FAULTS, serverContract } from './contract.mjs';
import { Home } from './harness.mjs';
import { LIMITS, writeCapability } from './protocol.mjs';

if (!process.env.HALLWAY_BIN) {
  throw new Error('HALLWAY_BIN must name the hallway binary, for example HALLWAY_BIN=target/debug/hallway');
}
const HALLWAY = resolve(process.env.HALLWAY_BIN);
accessSync(HALLWAY, constants.X_OK);

const EXIT = { done: 0, usage: 2, noSuchPeer: 3, refused: 4, timedOut: 5, unreachable: 7 };

/** One run of `hallway` to its end. */
const hallway = (home, args, input) =>
  home.start(HALLWAY, [...args, '--config-dir', home.config]).finish(input);

/** It failed with this code, and said why. */
function assertFailed({ code, stderr }, expected, ...words) {
  assert.equal(code, expected, stderr);
  assert.match(stderr, /^error: /m);
  for (const word of words) assert.ok(stderr.includes(word), `${word} is missing in: ${stderr}`);
}

/** The next message that a JavaScript server prints, and the number of its connection. */
const arrival = async (server) => JSON.parse(await server.child.next());
const delivered = async (server) => (await arrival(server)).message;

describe('hallway serve', { concurrency: 8, timeout: 180_000 }, () => {
  async function start(home, { hold }) {
    const child = home.start(HALLWAY, ['serve', '--json', ...(hold ? ['--hold'] : []), '--config-dir', home.config]);
    const { event, address, pid } = JSON.parse(await child.next());
    assert.deepEqual([event, pid], ['listening', child.pid]);
    assert.match(address, /^uds:\//);
    /** The message as the very bytes that were printed: it is the last member of the entry. */
    const next = async () => (await child.next()).replace(/^\{"event":"message","id":.*?,"message":(.*)\}$/s, '$1');
    return { child, socket: address.slice('uds:'.length), next };
  }
  serverContract(start, {
    lossless: true, refusesDuplicates: true, overcrowded: ['too many clients'], idleMs: LIMITS.idleMs,
  });

  // Covers: L3.30, L5.20
  it('prints entries with the account that the kernel gives of the sender', async (t) => {
    const home = new Home(t);
    const { child, socket } = await start(home, {});
    for (const id of ['uds-1', 'uds-2']) {
      const begun = Date.now();
      const { pid } = await home.client('send', socket, ['hello']);
      const { receivedAt, message, ...entry } = JSON.parse(await child.next());
      assert.deepEqual(entry, { event: 'message', id, peer: { uid: process.getuid(), pid } });
      assert.ok(begun <= receivedAt && receivedAt <= Date.now(), `${receivedAt} is not now`);
      assert.equal(message.data, 'hello');
    }
  });
});

describe('hallway send, ping and peers', { concurrency: 8, timeout: 120_000 }, () => {
  // Covers: L3.2
  it('sends a text, with nothing in it but what was asked for', async (t) => {
    const home = new Home(t);
    const server = await home.server();
    const { code, lines, stderr } = await hallway(home, ['send', `uds:${server.socket}`, 'héllo 🚪']);
    assert.equal(code, EXIT.done, stderr);
    assert.match(lines.join('\n'), /uds-1/);
    const { ts, ...message } = await delivered(server);
    assert.deepEqual(message, { type: 'text', data: 'héllo 🚪' });
    assert.equal(new Date(ts).toISOString(), ts);
  });

  it('sends the text of standard input, and a type', async (t) => {
    const home = new Home(t);
    const server = await home.server();
    const { code, stderr } = await hallway(home, ['send', server.socket, '--type', 'query'], 'from stdin');
    assert.equal(code, EXIT.done, stderr);
    const { ts, ...message } = await delivered(server);
    assert.deepEqual(message, { type: 'query', data: 'from stdin' });
    assert.equal(new Date(ts).toISOString(), ts);
  });

  it('sends JSON lines over one connection and answers each in order', async (t) => {
    const home = new Home(t);
    const server = await home.server();
    const data = Array.from({ length: 100 }, (_, i) => `message ${i + 1}`);
    const input = data.map((text) => `${JSON.stringify({ data: text })}\n`).join('');
    const { code, lines, stderr } = await hallway(home, ['send', '--json', `uds:${server.socket}`], input);
    assert.equal(code, EXIT.done, stderr);
    assert.equal(lines.length, data.length);
    for (const [i, text] of data.entries()) {
      assert.ok(Object.values(JSON.parse(lines[i])).includes(`uds-${i + 1}`), lines[i]);
      const { connection, message } = await arrival(server);
      assert.deepEqual([connection, message.data], [1, text]);
    }
  });

  it('does not wait for an answer before it sends the next JSON line', async (t) => {
    const home = new Home(t);
    const server = await home.server('--fault', 'never-answer');
    const data = ['one', 'two', 'three'];
    const input = data.map((text) => `{"data":"${text}"}\n`).join('');
    const sent = hallway(home, ['send', '--json', `uds:${server.socket}`], input);
    for (const text of data) assert.equal((await delivered(server)).data, text);
    assert.equal((await sent).code, EXIT.timedOut);
  });

  // Covers: L4.16, L4.17
  it('finds a peer by path, pid, session id, prefix of it, and name', async (t) => {
    const home = new Home(t);
    const id = 'aaaa1111-0000-4000-8000-000000000001';
    const ada = await home.server('--register', '--name', 'ada', '--session-id', id);
    await home.server('--register', '--name', 'bob', '--session-id', 'bbbb2222-0000-4000-8000-000000000002');
    for (const target of [`uds:${ada.socket}`, ada.socket, String(ada.child.pid), id, 'aaaa', 'ada']) {
      const { code, stderr } = await hallway(home, ['send', target, target]);
      assert.equal(code, EXIT.done, `${target}: ${stderr}`);
      assert.equal((await delivered(ada)).data, target);
      assert.equal((await hallway(home, ['ping', target])).code, EXIT.done, target);
    }
  });

  // Covers: L4.18
  it('lists the live registered peers', async (t) => {
    const home = new Home(t);
    const peers = new Map();
    for (const name of ['ada', 'bob']) {
      const { child, socket } = await home.server('--register', '--name', name, '--session-id', `session-of-${name}`);
      peers.set(child.pid, [name, `session-of-${name}`, `uds:${socket}`]);
    }
    await home.server(); // not registered
    const dead = await home.server('--register', '--name', 'eve');
    await dead.child.kill();

    const { code, lines, stderr } = await hallway(home, ['peers', '--json']);
    assert.equal(code, EXIT.done, stderr);
    const listed = lines.map((line) => JSON.parse(line));
    assert.deepEqual(new Set(listed.map(({ pid }) => pid)), new Set(peers.keys()));
    for (const peer of listed) {
      for (const value of peers.get(peer.pid)) assert.ok(Object.values(peer).includes(value), `${value} is missing`);
    }
  });

  it('refuses a target that is unknown, dead or ambiguous, and names the candidates', async (t) => {
    const home = new Home(t);
    const [one, two] = [
      await home.server('--register', '--name', 'twin', '--session-id', 'cccc-1'),
      await home.server('--register', '--name', 'twin', '--session-id', 'cccc-2'),
    ];
    const pids = [one, two].map(({ child }) => String(child.pid));
    for (const target of ['twin', 'cccc']) {
      assertFailed(await hallway(home, ['send', target, 'x']), EXIT.noSuchPeer, target, ...pids);
    }
    assertFailed(await hallway(home, ['send', 'nobody', 'x']), EXIT.noSuchPeer, 'nobody');
    await two.child.kill();
    assertFailed(await hallway(home, ['send', 'cccc-2', 'x']), EXIT.noSuchPeer, 'cccc-2');
    assert.equal((await hallway(home, ['send', 'twin', 'x'])).code, EXIT.done);
  });

  // Covers: L4.13, L4.14
  it('tells a peer that has gone from one without a capability', async (t) => {
    const home = new Home(t);
    const { child, socket } = await home.server();
    await child.kill();
    for (const verb of [['send', socket, 'x'], ['ping', socket]]) {
      assertFailed(await hallway(home, verb), EXIT.unreachable, `Failed to connect to peer at ${socket}: `);
    }
    const other = `${home.dir}/other.sock`;
    assertFailed(await hallway(home, ['send', other, 'x']), EXIT.unreachable, `No auth token found for peer at ${other}`);
  });

  // Covers: L4.4
  it('passes on that its token is not the right one', async (t) => {
    const home = new Home(t);
    const { socket } = await home.server();
    writeCapability(home.config, socket, 'f'.repeat(64));
    assertFailed(await hallway(home, ['send', socket, 'x']), EXIT.refused, 'unauthorized');
    assertFailed(await hallway(home, ['ping', socket]), EXIT.refused, 'unauthorized');
  });

  // Covers: L4.12
  it('refuses an inline token without connecting', async (t) => {
    const home = new Home(t);
    const server = await home.server();
    const words = 'UDS target must not include an inline auth token; use the ListPeers address';
    assertFailed(await hallway(home, ['send', `uds:${server.socket}#token=abc`, 'x']), EXIT.usage, words);
    assert.equal((await hallway(home, ['send', server.socket, 'x'])).code, EXIT.done);
    assert.equal((await arrival(server)).connection, 1);
  });

  it('shows control characters of a peer, and does not pass them on', async (t) => {
    const home = new Home(t);
    const { socket } = await home.server('--fault', 'error:\x1b[31mred\u202e\x07');
    const outcome = await hallway(home, ['send', socket, 'x']);
    assertFailed(outcome, EXIT.refused, 'red');
    assert.doesNotMatch(outcome.stderr, /[\x07\x1b\u202e]/);
  });

  it('knows when it was called in the wrong way', async (t) => {
    const home = new Home(t);
    for (const args of [['send'], ['ping'], ['no-such-verb']]) assertFailed(await hallway(home, args), EXIT.usage);
  });

  for (const [fault, verb, exit, words = ''] of FAULTS) {
    it(`${verb} meets ${fault}: exit code ${exit}`, async (t) => {
      const home = new Home(t);
      const { socket } = await home.server('--fault', fault);
      const outcome = await hallway(home, [verb, `uds:${socket}`, ...(verb === 'send' ? ['hello'] : [])]);
      if (exit === EXIT.done) assert.equal(outcome.code, exit, outcome.stderr);
      else assertFailed(outcome, exit, words);
    });
  }
});
