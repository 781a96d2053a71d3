// A peer in the client's part: wire contract §4, and with `raw` any bytes at all.
//
//   node client.mjs send --config DIR --socket PATH [--type T] [--from PATH] TEXT
//   node client.mjs ping --config DIR --socket PATH
//   node client.mjs pipeline --config DIR --socket PATH N     N messages written before anything is read
//   node client.mjs half-close --config DIR --socket PATH N   N messages, a part of another, and the end of our side
//   node client.mjs raw --socket PATH [--pace together|turn|ack] [--half-close] [--replies N]
//       base64 chunks on stdin, one a line: written together, one an event-loop turn, or the next after each reply;
//       done when the server has ended the connection, or after N replies
//
// All take --timeout-ms, a total deadline. Prints JSON lines; exits 0 only on the expected outcome,
// else 1 after {"event":"failed","reason":…}.

import { once } from 'node:events';
import net from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { LIMITS, LineReader, frame, parseLine, readCapability } from './protocol.mjs';

const INLINE_TOKEN = 'UDS target must not include an inline auth token; use the ListPeers address';

function tokenFor(config, socketPath) {
  if (socketPath.includes('#token=')) throw new Error(INLINE_TOKEN);
  const token = readCapability(config, socketPath);
  if (token === undefined) throw new Error(`No auth token found for peer at ${socketPath}`);
  return token;
}

/** One connection with a total deadline: bytes out, reply lines in. */
export class Connection {
  static async open(socketPath, timeoutMs = LIMITS.sendMs) {
    const connection = new Connection();
    connection.socket = net.connect({ path: socketPath, allowHalfOpen: true });
    connection.replies = new LineReader(connection.socket, LIMITS.frameBytes);
    const expire = () => connection.socket.destroy(new Error('timed out'));
    const deadline = setTimeout(expire, timeoutMs);
    connection.socket.on('end', () => connection.socket.end());
    connection.socket.on('close', () => clearTimeout(deadline));
    try {
      await once(connection.socket, 'connect');
    } catch (error) {
      throw new Error(`Failed to connect to peer at ${socketPath}: ${error.message}`);
    }
    return connection;
  }

  /** Done when the kernel has the bytes, or never will: `replies.ended` tells which. */
  write(bytes) {
    return new Promise((resolve) => this.socket.write(bytes, resolve));
  }

  /** The first frame of the wanted type. Unknown frames are skipped. */
  async expect(wanted) {
    for (let line; (line = await this.replies.next()) !== undefined; ) {
      const reply = parseReply(line);
      if (reply.type === 'error') throw new Error(reply.data);
      if (reply.type === wanted) return reply;
    }
    const how = await this.replies.ended;
    throw new Error(how === 'eof' ? 'ended before response' : how);
  }

  close() {
    this.socket.destroy();
  }
}

function parseReply(line) {
  let reply;
  try {
    reply = parseLine(line);
  } catch {
    throw new Error('invalid JSON in response');
  }
  if (reply === null || typeof reply !== 'object') throw new Error('response is not an object');
  return reply;
}

const print = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const lines = (...frames) => `${frames.join('\n')}\n`;
const numbered = (count, token) => Array.from({ length: count }, (_, i) => frame({ data: `message ${i + 1}`, token }));

async function send(connection, token, options, [data]) {
  await connection.write(lines(frame({ type: options.type, data, from: options.from, token })));
  print({ event: 'response', frame: await connection.expect('response') });
}

async function ping(connection, token) {
  await connection.write(lines(frame({ type: 'ping', token })));
  print({ event: 'pong', frame: await connection.expect('pong') });
}

async function pipeline(connection, token, options, [count]) {
  connection.socket.pause();
  await connection.write(lines(...numbered(Number(count), token)));
  connection.socket.resume();
  for (let n = 0; n < Number(count); n += 1) print({ event: 'response', frame: await connection.expect('response') });
}

async function halfClose(connection, token, options, [count]) {
  const incomplete = frame({ token }).slice(0, -1);
  connection.socket.end(lines(...numbered(Number(count), token)) + incomplete);
  for (let n = 0; n < Number(count); n += 1) print({ event: 'response', frame: await connection.expect('response') });
  const extra = await connection.replies.next();
  if (extra !== undefined) throw new Error(`a reply too many: ${extra}`);
  await printEnd(connection);
}

async function raw(connection, token, options) {
  const stdin = new LineReader(process.stdin);
  const chunks = [];
  for (let line; (line = await stdin.next()) !== undefined; ) chunks.push(Buffer.from(line.toString(), 'base64'));

  let replies = 0;
  const nextReply = async () => {
    const line = await connection.replies.next();
    if (line === undefined) return false;
    print({ event: 'reply', frame: parseReply(line) });
    replies += 1;
    return true;
  };
  if (options.pace === 'together') await connection.write(Buffer.concat(chunks));
  else {
    for (const chunk of chunks) {
      await connection.write(chunk);
      if (options.pace === 'turn') await turn();
      else if (!(await nextReply())) break;
    }
  }
  if (options['half-close']) connection.socket.end();
  const enough = Number(options.replies ?? Infinity);
  while (replies < enough && (await nextReply()));
  if (replies < enough) await printEnd(connection);
}

async function printEnd(connection) {
  const how = await connection.replies.ended;
  print({ event: 'ended', how });
  if (how !== 'eof') throw new Error(how);
}

const VERBS = { send, ping, pipeline, 'half-close': halfClose, raw };

async function main([verb, ...rest]) {
  const text = { type: 'string' };
  const { values: options, positionals } = parseArgs({
    args: rest,
    allowPositionals: true,
    options: {
      config: text, socket: text, type: text, from: text, replies: text, 'timeout-ms': text,
      pace: { type: 'string', default: 'together' },
      'half-close': { type: 'boolean' },
    },
  });
  if (!Object.hasOwn(VERBS, verb)) throw new Error(`no such verb: ${verb}`);
  const timeoutMs = Number(options['timeout-ms'] ?? (verb === 'ping' ? LIMITS.pingMs : LIMITS.sendMs));
  const token = verb === 'raw' ? undefined : tokenFor(options.config, options.socket);
  const connection = await Connection.open(options.socket, timeoutMs);
  try {
    await VERBS[verb](connection, token, options, positionals);
  } finally {
    connection.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    print({ event: 'failed', reason: error.message });
    process.exitCode = 1;
  }
}
