// A peer in the server's part, behaving as existing JavaScript peers do: wire contract §2 (files) and §3 (frames).
// Two habits of theirs are kept: the last of duplicate keys wins, and the 129th client is dropped without a word.
// With --fault it breaks the contract on purpose, for the tests of clients (§4).
//
//   node server.mjs --config DIR --socket PATH [--name N] [--session-id S] [--register] [--hold] [--idle-ms N] [--fault F]
//
// Prints {"event":"listening","socket":…,"pid":…}, then {"event":"message","connection":n,"message":…} for each message,
// with n the number of its connection. --hold leaves messages in the inbox.
// SIGTERM and SIGINT stop it and remove its files.

import { randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { chmodSync, rmSync } from 'node:fs';
import net from 'node:net';
import { dirname } from 'node:path';
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import {
  LIMITS, LineSplitter, Refusal, capabilityPath, isBlank, iso, parseLine, privateDirectory, recordPath,
  writeCapability, writeRecord,
} from './protocol.mjs';

const text = { type: 'string' };
const flag = { type: 'boolean' };
const { values: args } = parseArgs({
  options: {
    config: text, socket: text, name: text, 'session-id': text, register: flag, hold: flag, 'idle-ms': text, fault: text,
  },
});
const token = randomBytes(32).toString('hex');
const idleMs = Number(args['idle-ms'] ?? LIMITS.idleMs);

const print = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const line = (value) => `${JSON.stringify(value)}\n`;
const errorLine = (data) => line({ type: 'error', data, ts: iso() });

// The inbox

const inbox = { entries: [], bytes: 0, nextId: 1 };

/** Takes the message in and returns its id. */
function enqueue(message) {
  const bytes = Buffer.byteLength(JSON.stringify(message));
  if (inbox.entries.length >= LIMITS.inboxEntries || inbox.bytes + bytes > LIMITS.inboxBytes) {
    throw new Refusal('inbox full');
  }
  const id = `uds-${inbox.nextId}`;
  inbox.nextId += 1;
  inbox.entries.push({ id, message, receivedAt: Date.now(), status: 'pending' });
  inbox.bytes += bytes;
  return id;
}

function drain() {
  inbox.bytes = 0;
  return inbox.entries.splice(0);
}

// Frames

function authorise(value) {
  if (value === null) throw new Refusal('invalid frame');
  const given = Buffer.from(typeof value.meta?.authToken === 'string' ? value.meta.authToken : '');
  const known = Buffer.from(token);
  if (given.length !== known.length || !timingSafeEqual(given, known)) throw new Refusal('unauthorized');
}

/** Rest properties copy own members only and in order, so `__proto__` stays an ordinary key. */
function withoutToken({ meta: { authToken: _, ...meta }, ...members }) {
  return Object.keys(meta).length ? { ...members, meta } : members;
}

/** Takes one authorised frame and returns the answer to it. */
function accept(value, connection) {
  if (value.type === 'ping') return { type: 'pong', from: args.socket, ts: iso() };
  const message = withoutToken(value);
  const id = enqueue(message);
  print({ event: 'message', connection, message });
  if (!args.hold) drain();
  return { type: 'response', data: 'ok', ts: iso(), meta: { id } };
}

// Faults: each gets the socket, the honest answer and the fault's argument; it is done when its promise is.

const padded = (answer, bytes) => ({ ...answer, pad: 'x'.repeat(bytes - JSON.stringify({ ...answer, pad: '' }).length) });
const unknown = (n) => line({ type: 'status', data: `unknown frame ${n}`, ts: iso() });

const faults = {
  'never-answer': () => new Promise(() => {}),
  'close-before-response': async (socket) => socket.end(),
  'null-response': async (socket) => socket.end('null\n'),
  'invalid-json': async (socket) => socket.write('{"type":"response",\n'),
  'largest-response': async (socket, answer) => socket.write(line(padded(answer, LIMITS.frameBytes))),
  'oversized-response': async (socket, answer) => socket.write(line(padded(answer, LIMITS.frameBytes + 1))),
  error: async (socket, answer, data) => socket.end(errorLine(data)),
  'slow-ms': async (socket, answer, ms) => {
    await delay(Number(ms));
    socket.write(line(answer));
  },
  async drip(socket) {
    for (let n = 1; !socket.destroyed; n += 1) {
      socket.write(unknown(n));
      await delay(500);
    }
  },
  /** A ping gets a frame that only talks of pong; anything else gets a pong that it has no use for. */
  async 'pong-substring'(socket, answer) {
    if (answer.type === 'pong') socket.write(line({ type: 'text', data: 'pong', note: '"type":"pong"', ts: iso() }));
    else socket.write(line({ type: 'pong', from: args.socket, ts: iso() }));
  },
  async 'unknown-frames-first'(socket, answer) {
    socket.write(unknown(1) + unknown(2) + line(answer));
  },
  /** An error frame, one byte a write. */
  async 'split-multibyte'(socket) {
    for (const byte of Buffer.from(errorLine('späť 日本 🚪'))) {
      await new Promise((resolve) => socket.write(Buffer.of(byte), resolve));
      await turn();
    }
    socket.end();
  },
};

const [faultName, ...faultArgument] = args.fault?.split(':') ?? [];
const honest = async (socket, answer) => socket.write(line(answer));
const deliver = faultName === undefined ? honest : faults[faultName];
if (!deliver) throw new Error(`no such fault: ${args.fault}`);

// Connections

const clients = new Set();
let connections = 0;

function serve(socket) {
  socket.on('error', () => {}); // the client has gone; 'close' follows
  connections += 1;
  const connection = connections;
  if (clients.size >= LIMITS.clients) return socket.destroy();
  clients.add(socket);
  const splitter = new LineSplitter(LIMITS.frameBytes);
  let refused = false;
  let halfClosed = false;
  let owed = 0;

  const refuse = (reason) => {
    refused = true;
    clearTimeout(authTimer);
    socket.end(errorLine(reason));
    socket.setTimeout(LIMITS.lingerMs);
  };
  const authTimer = setTimeout(refuse, LIMITS.authMs, 'authentication timeout');
  const endIfSettled = () => halfClosed && owed === 0 && socket.end();
  const answer = async (value) => {
    owed += 1;
    await deliver(socket, value, faultArgument.join(':'));
    owed -= 1;
    endIfSettled();
  };

  socket.on('data', (chunk) => {
    if (refused) return;
    try {
      for (const bytes of splitter.push(chunk)) {
        if (isBlank(bytes)) continue;
        const value = parseLine(bytes);
        authorise(value);
        clearTimeout(authTimer);
        answer(accept(value, connection));
      }
    } catch (error) {
      refuse(error instanceof Refusal ? error.message : 'invalid frame');
    }
  });
  socket.on('end', () => {
    halfClosed = true;
    endIfSettled();
  });
  socket.setTimeout(idleMs, () => (refused ? socket.destroy() : refuse('idle timeout')));
  socket.on('close', () => {
    clearTimeout(authTimer);
    clients.delete(socket);
  });
}

// The process

process.umask(0o077);
privateDirectory(dirname(args.socket), 'socket parent');
const server = net.createServer({ allowHalfOpen: true }, serve);

server.listen(args.socket, () => {
  chmodSync(args.socket, 0o600);
  writeCapability(args.config, args.socket, token);
  if (args.register) {
    writeRecord(args.config, {
      pid: process.pid,
      sessionId: args['session-id'] ?? randomUUID(),
      cwd: process.cwd(),
      startedAt: Date.now(),
      kind: 'interactive',
      entrypoint: 'cli',
      messagingSocketPath: args.socket,
      name: args.name,
    });
  }
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, stop);
  print({ event: 'listening', socket: args.socket, pid: process.pid });
});

function stop() {
  server.close(); // removes the socket
  for (const socket of clients) socket.destroy();
  rmSync(capabilityPath(args.config, args.socket), { force: true });
  if (args.register) rmSync(recordPath(args.config, process.pid), { force: true });
}
