// What the tests share: a private home for each test, and the processes in it.
// Homes stay short, because a socket path must fit in 100 bytes (wire contract §5.9).

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LineReader, readCapability } from './protocol.mjs';

process.umask(0o077);

const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url));
const CLIENT = fileURLToPath(new URL('client.mjs', import.meta.url));

/** One process; `next` gives its output line by line. */
class Child {
  constructor(command, args, env) {
    this.process = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    this.command = [command, ...args].join(' ');
    this.stderr = '';
    this.output = '';
    this.process.stdin.on('error', () => {}); // it may exit without reading
    this.process.stderr.on('data', (chunk) => (this.stderr += chunk));
    this.process.stdout.on('data', (chunk) => (this.output += chunk.toString('latin1')));
    this.stdout = new LineReader(this.process.stdout);
    this.exited = once(this.process, 'exit');
    this.closed = once(this.process, 'close').then(([code, signal]) => code ?? signal);
  }

  get pid() {
    return this.process.pid;
  }

  /** The next line of output as text; it is an error if there is none. */
  async next() {
    const line = await this.stdout.next();
    if (line === undefined) throw new Error(`${this.command} ended with ${await this.closed}: ${this.stderr}`);
    return line.toString();
  }

  /** Waits for its end: exit code (or signal), lines and standard error. */
  async finish(input = '') {
    this.process.stdin.end(input);
    const lines = [];
    for (let line; (line = await this.stdout.next()) !== undefined; ) lines.push(line.toString());
    return { code: await this.closed, lines, stderr: this.stderr, pid: this.pid };
  }

  /** Ends it, and reads no more: its own children may still hold the pipes. */
  async kill() {
    this.process.kill('SIGKILL');
    await this.exited;
    for (const stream of this.process.stdio) stream.destroy();
  }

  /** Asks it to stop and waits until it has. */
  async stop() {
    this.process.kill('SIGTERM');
    return this.closed;
  }
}

/** A temporary home, config directory and TMPDIR of one test. All of it goes away with the test. */
export class Home {
  #children = [];
  #secrets = [];

  constructor(t) {
    this.dir = mkdtempSync('/tmp/hw-');
    this.config = join(this.dir, 'config');
    mkdirSync(this.config);
    const { XDG_RUNTIME_DIR, CLAUDE_CONFIG_DIR, CLAUDE_CODE_MESSAGING_SOCKET, ...env } = process.env;
    this.env = { ...env, HOME: this.dir, TMPDIR: this.dir };
    t.after(() => this.#dispose());
  }

  start(command, args) {
    const child = new Child(command, args, this.env);
    this.#children.push(child);
    return child;
  }

  /** A token that no process here may print. */
  keepSecret(token) {
    this.#secrets.push(token);
  }

  async #dispose() {
    await Promise.all(this.#children.map((child) => child.kill()));
    rmSync(this.dir, { recursive: true, force: true });
    for (const { command, output, stderr } of this.#children) {
      const leaks = this.#secrets.some((token) => output.includes(token) || stderr.includes(token));
      assert.equal(leaks, false, `${command} printed a token`);
    }
  }

  /** The JavaScript server, listening. */
  async server(...options) {
    const socket = join(this.dir, `peer-${this.#children.length}`, 'messaging.sock');
    const child = this.start(process.execPath, [SERVER, '--config', this.config, '--socket', socket, ...options]);
    const first = JSON.parse(await child.next());
    assert.deepEqual(first, { event: 'listening', socket, pid: child.pid });
    this.keepSecret(readCapability(this.config, socket));
    return { child, socket };
  }

  /** One run of the JavaScript client; its lines are parsed into `events`. */
  async client(verb, socket, options = [], input = '') {
    const args = [CLIENT, verb, '--config', this.config, '--socket', socket, ...options];
    const result = await this.start(process.execPath, args).finish(input);
    return { ...result, events: result.lines.map((line) => JSON.parse(line)) };
  }
}
