// What the JavaScript peers share: limits, private files, frames and NDJSON.
// Wire contract §1 (constants), §2 (files and modes), §3 and §4 (frames).

import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync, constants, fstatSync, lstatSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

export const LIMITS = Object.freeze({
  frameBytes: 65_536,
  inboxEntries: 1_000,
  inboxBytes: 2_097_152,
  clients: 128,
  authMs: 2_000,
  idleMs: 30_000,
  lingerMs: 1_000, // ours: how long a refused client may take to hang up
  sendMs: 5_000,
  pingMs: 3_000,
});

/** A reason to refuse, in the words that go over the wire. */
export class Refusal extends Error {}

export const iso = () => new Date().toISOString();

// Private files (§2)

/** Creates `dir` if it is missing; throws unless it is a real directory, private and ours. */
export function privateDirectory(dir, what) {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const stat = lstatSync(dir);
  if (!stat.isDirectory()) throw new Error(`${what} is not a directory: ${dir}`);
  if (stat.mode & 0o077) throw new Error(`${what} permissions are too broad: ${dir}`);
  if (stat.uid !== process.getuid()) throw new Error(`${what} owner does not match current user: ${dir}`);
}

/** Writes a 0600 file beside `target` and renames it over `target`. */
function writePrivate(target, text, what) {
  privateDirectory(dirname(target), what);
  const temporary = `${target}.${randomBytes(8).toString('hex')}.tmp`;
  try {
    writeFileSync(temporary, text, { flag: 'wx', mode: 0o600 });
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** The path is hashed exactly as it is spelt. */
export const capabilityPath = (config, socketPath) =>
  join(config, 'messaging-capabilities', `${createHash('sha256').update(socketPath).digest('hex')}.json`);

export const writeCapability = (config, socketPath, authToken) =>
  writePrivate(capabilityPath(config, socketPath), JSON.stringify({ socketPath, authToken }), 'capability directory');

/** The peer's token; every failure means undefined. */
export function readCapability(config, socketPath) {
  let fd;
  try {
    fd = openSync(capabilityPath(config, socketPath), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.mode & 0o077 || stat.uid !== process.getuid()) return undefined;
    const capability = JSON.parse(readFileSync(fd, 'utf8'));
    const usable = capability.socketPath === socketPath && typeof capability.authToken === 'string';
    return usable ? capability.authToken : undefined;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

export const recordPath = (config, pid) => join(config, 'sessions', `${pid}.json`);

export const writeRecord = (config, record) =>
  writePrivate(recordPath(config, record.pid), JSON.stringify(record), 'registry directory');

// Frames (§3, §4)

/** One message without its newline; members in the order of §4, absent ones left out. */
export const frame = ({ type = 'text', data, ts = iso(), from, token }) =>
  JSON.stringify({ type, data, ts, from, meta: { authToken: token } });

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }); // "ignore" keeps the mark, so that JSON refuses it

/** Bytes of one line to its JSON value; throws on invalid UTF-8 and on what is not JSON. */
export const parseLine = (line) => JSON.parse(utf8.decode(line));

export const isBlank = (line) => line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);

// NDJSON

/** Cuts bytes into lines at 0x0A. A line over the limit is refused, whether or not its end has come. */
export class LineSplitter {
  #parts = [];
  #length = 0;
  #limit;

  constructor(limit) {
    this.#limit = limit;
  }

  /** Bytes of the line that has not ended yet. */
  get unfinished() {
    return this.#length;
  }

  /** Yields every line that `chunk` completes, without its newline. */
  *push(chunk) {
    let start = 0;
    for (let end; (end = chunk.indexOf(0x0a, start)) !== -1; start = end + 1) {
      this.#keep(chunk.subarray(start, end));
      const line = Buffer.concat(this.#parts);
      this.#parts = [];
      this.#length = 0;
      yield line;
    }
    this.#keep(chunk.subarray(start));
  }

  #keep(part) {
    this.#parts.push(part);
    this.#length += part.length;
    if (this.#length > this.#limit) {
      throw new Refusal(`NDJSON frame exceeded ${this.#limit} bytes (${this.#length})`);
    }
  }
}

/** The lines of a stream, one `next` at a time, and in `ended` how the stream ended. */
export class LineReader {
  #lines = [];
  #waiting = [];
  #over = false;

  constructor(stream, limit = Infinity) {
    const splitter = new LineSplitter(limit);
    stream.on('data', (chunk) => {
      try {
        for (const line of splitter.push(chunk)) this.#deliver(line);
      } catch (error) {
        stream.destroy(error);
      }
    });
    this.ended = new Promise((resolve) => {
      const end = (how) => {
        this.#over = true;
        for (const wake of this.#waiting.splice(0)) wake(undefined);
        resolve(how);
      };
      stream.on('end', () => end(splitter.unfinished ? 'eof inside a line' : 'eof'));
      stream.on('error', (error) => end(error.code ?? error.message));
      stream.on('close', () => end('closed'));
    });
  }

  #deliver(line) {
    const wake = this.#waiting.shift();
    if (wake) wake(line);
    else this.#lines.push(line);
  }

  /** The next line as bytes; undefined when the stream has ended. */
  next() {
    if (this.#lines.length || this.#over) return Promise.resolve(this.#lines.shift());
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
