// The two JavaScript peers against each other: what the other tests rely on follows the wire contract (§1 to §4) itself.

import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { FAULTS, serverContract } from './contract.mjs';
import { Home } from './harness.mjs';
import { LineSplitter, capabilityPath, frame, readCapability, recordPath, writeCapability } from './protocol.mjs';

const IDLE_MS = 2_500; // more than the authentication timeout, which a ping must have cancelled

describe('the JavaScript server', { concurrency: 8, timeout: 180_000 }, () => {
  const start = async (home, { hold }) => {
    const server = await home.server('--idle-ms', String(IDLE_MS), ...(hold ? ['--hold'] : []));
    const entry = /^\{"event":"message","connection":\d+,"message":(.*)\}$/;
    const next = async () => (await server.child.next()).replace(entry, '$1');
    return { ...server, next };
  };
  serverContract(start, { lossless: false, refusesDuplicates: false, overcrowded: [], idleMs: IDLE_MS });

  it('writes a registry record and removes it', async (t) => {
    const home = new Home(t);
    const { child, socket } = await home.server('--register', '--name', 'ada', '--session-id', 'c0ffee');
    const path = recordPath(home.config, child.pid);
    const { startedAt, ...record } = JSON.parse(readFileSync(path, 'utf8'));
    assert.ok(Date.now() - startedAt < 60_000, `${startedAt} is not now`);
    assert.deepEqual(record, {
      pid: child.pid, sessionId: 'c0ffee', cwd: process.cwd(), kind: 'interactive', entrypoint: 'cli',
      messagingSocketPath: socket, name: 'ada',
    });
    assert.equal(await child.stop(), 0);
    assert.equal(existsSync(path), false);
  });
});

describe('the JavaScript client', { concurrency: 8, timeout: 120_000 }, () => {
  for (const [fault, verb, exit, words = ''] of FAULTS) {
    it(`${verb} meets ${fault}`, async (t) => {
      const home = new Home(t);
      const { socket } = await home.server('--fault', fault);
      const { code, events } = await home.client(verb, socket, verb === 'send' ? ['hello'] : []);
      const [event, last] = exit === 0 ? [{ send: 'response', ping: 'pong' }[verb], ''] : ['failed', words];
      assert.equal(code, exit === 0 ? 0 : 1);
      assert.equal(events.length, 1);
      assert.equal(events[0].event, event);
      assert.ok((events[0].reason ?? '').includes(last), events[0].reason);
      if (fault === 'null-response') assert.equal(events[0].reason, 'response is not an object');
      if (exit === 5) assert.equal(events[0].reason, 'timed out');
    });
  }

  it('gets slow answers after its half-close too', async (t) => {
    const home = new Home(t);
    const { socket } = await home.server('--fault', 'slow-ms:200');
    const { code, events } = await home.client('half-close', socket, ['3']);
    assert.equal(code, 0, JSON.stringify(events.at(-1)));
    assert.deepEqual(events.map(({ event }) => event), ['response', 'response', 'response', 'ended']);
  });

  it('says why it cannot begin', async (t) => {
    const home = new Home(t);
    const socket = `${home.dir}/none.sock`;
    const reason = async (target) => (await home.client('ping', target)).events[0].reason;
    assert.equal(await reason(socket), `No auth token found for peer at ${socket}`);
    writeCapability(home.config, socket, '0'.repeat(64));
    assert.match(await reason(socket), new RegExp(`^Failed to connect to peer at ${socket}: .*ENOENT`));
    assert.equal(
      await reason(`${socket}#token=x`),
      'UDS target must not include an inline auth token; use the ListPeers address',
    );
  });
});

describe('what they share', () => {
  it('cuts lines at every LF, however the bytes were cut', () => {
    const bytes = Buffer.from('a\n\né日\r\n🚪\nrest');
    const expected = ['a', '', 'é日\r', '🚪'];
    for (let first = 0; first <= bytes.length; first += 1) {
      for (let second = first; second <= bytes.length; second += 1) {
        const splitter = new LineSplitter(6);
        const parts = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
        assert.deepEqual(parts.flatMap((part) => [...splitter.push(part)]).map(String), expected);
        assert.equal(splitter.unfinished, 4);
      }
    }
  });

  it('refuses a line over the limit after it has given those before it', () => {
    const given = [];
    const splitter = new LineSplitter(3);
    const push = () => {
      for (const line of splitter.push(Buffer.from('abc\nabcd'))) given.push(String(line));
    };
    assert.throws(push, { message: 'NDJSON frame exceeded 3 bytes (4)' });
    assert.deepEqual(given, ['abc']);
  });

  it('builds frames in the order of the contract', () => {
    const built = frame({ type: 'query', data: 'd', ts: 't', from: 'f', token: 'k' });
    assert.equal(built, '{"type":"query","data":"d","ts":"t","from":"f","meta":{"authToken":"k"}}');
  });

  it('trusts no capability file that is not private, regular and about this path', (t) => {
    const { config } = new Home(t);
    const path = capabilityPath(config, '/s');
    writeCapability(config, '/s', 'k');
    assert.equal(readCapability(config, '/s'), 'k');
    assert.equal(readCapability(config, '/other'), undefined);
    chmodSync(path, 0o640);
    assert.equal(readCapability(config, '/s'), undefined);
    chmodSync(path, 0o600);
    writeFileSync(path, '{"socketPath":"/other","authToken":"k"}');
    assert.equal(readCapability(config, '/s'), undefined);
    writeFileSync(path, '{"socketPath":"/s","authToken":"k"}');
    renameSync(path, `${path}.real`);
    symlinkSync(`${path}.real`, path);
    assert.equal(readCapability(config, '/s'), undefined);
  });
});
