// A relay server by the npm package `socket.io`, for the tests (relay.md §1 to §4), and the app's side of the
// encryption by `node:crypto` and `tweetnacl`. The server holds ciphertexts alone, and all that it was told.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import nacl from 'tweetnacl';

const PATH = '/v1/updates';

/** The app's side of a session's encryption (§4.1, §4.2). */
export class Cipher {
  constructor(key, variant) {
    this.key = key;
    this.variant = variant;
  }

  seal(value) {
    const plaintext = Buffer.from(JSON.stringify(value));
    if (this.variant === 'legacy') {
      const nonce = randomBytes(24);
      return Buffer.concat([nonce, nacl.secretbox(plaintext, nonce, this.key)]).toString('base64');
    }
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', this.key, nonce);
    const sealed = [cipher.update(plaintext), cipher.final()];
    return Buffer.concat([Buffer.of(0), nonce, ...sealed, cipher.getAuthTag()]).toString('base64');
  }

  open(text) {
    const bytes = Buffer.from(text, 'base64');
    if (this.variant === 'legacy') {
      const opened = nacl.secretbox.open(bytes.subarray(24), bytes.subarray(0, 24), this.key);
      return JSON.parse(Buffer.from(opened).toString());
    }
    if (bytes[0] !== 0) throw new Error('another version');
    const decipher = createDecipheriv('aes-256-gcm', this.key, bytes.subarray(1, 13));
    decipher.setAuthTag(bytes.subarray(-16));
    return JSON.parse(Buffer.concat([decipher.update(bytes.subarray(13, -16)), decipher.final()]).toString());
  }
}

/** A box bundle to `key` (§4.3). */
export function box(plaintext, key) {
  const own = nacl.box.keyPair();
  const nonce = randomBytes(24);
  return Buffer.concat([own.publicKey, nonce, nacl.box(plaintext, nonce, key, own.secretKey)]).toString('base64');
}

/** The data key of a session, by the account's secret content key. */
export function unbox(field, secretKey) {
  const bytes = Buffer.from(field, 'base64');
  if (bytes[0] !== 0 || bytes.length !== 105) throw new Error('no wrapped key');
  return Buffer.from(nacl.box.open(bytes.subarray(57), bytes.subarray(33, 57), bytes.subarray(1, 33), secretKey));
}

export class RelayServer {
  /** What the tests look at, and change. */
  faults = { refuse: undefined, old: false, noV3: false, raceMetadata: undefined };
  sessions = new Map();
  machines = new Map();
  pairings = new Map();
  tokens = new Set();
  events = [];
  usage = [];
  dials = 0;
  joined = [];
  left = [];
  heartbeats = 0;
  #received = [];
  #waiting = new Set();
  #updates = 0;

  static async start(t, engine = {}) {
    const server = new RelayServer();
    const http = createServer((request, response) => server.#serve(request, response));
    server.io = new Server(http, {
      path: PATH, transports: ['websocket'], serveClient: false, pingInterval: 15_000, pingTimeout: 45_000,
      connectTimeout: 20_000, ...engine,
    });
    server.io.use((socket, next) => server.#admit(socket, next));
    server.io.on('connection', (socket) => server.#attend(socket));
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    server.url = `http://127.0.0.1:${http.address().port}`;
    t.after(() => {
      server.io.disconnectSockets(true);
      http.closeAllConnections();
      return server.io.close();
    });
    return server;
  }

  /** Waits until `wanted` gives something of the state. */
  until(what, wanted) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`never: ${what}; events ${JSON.stringify(this.events)}`)), 30_000);
      const look = () => {
        const found = wanted(this);
        if (!found) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(found);
      };
      this.#waiting.add(look);
      look();
    });
  }

  #changed() {
    for (const look of this.#waiting) look();
  }

  /** All that came, for a search of what must not be there. */
  received() {
    return this.#received.join('\n');
  }

  /** The one session. */
  get session() {
    if (this.sessions.size !== 1) throw new Error(`${this.sessions.size} sessions`);
    return [...this.sessions.values()][0];
  }

  get sockets() {
    return [...this.io.sockets.sockets.values()];
  }

  /** Stores a message, and tells the sockets of the session but `sender`. */
  store(session, c, localId = null, sender = undefined) {
    const known = localId !== null && session.messages.find((message) => message.localId === localId);
    if (known) return known;
    session.seq += 1;
    const message = {
      id: `m${session.seq}`, seq: session.seq, content: { t: 'encrypted', c }, localId, createdAt: 1, updatedAt: 1,
    };
    session.messages.push(message);
    this.update(session, { t: 'new-message', sid: session.id, message }, sender);
    return message;
  }

  update(session, body, sender = undefined) {
    this.#tell(`session:${session.id}`, body, sender);
  }

  #tell(of, body, sender = undefined) {
    this.#updates += 1;
    const update = { id: String(this.#updates).padStart(12, '0'), seq: this.#updates, body, createdAt: 1 };
    const room = this.io.to(of);
    (sender ? room.except(sender.id) : room).emit('update', update);
    this.#changed();
  }

  /** Calls a method of whoever serves it: its acknowledgement. */
  async call(method, params) {
    const owner = await this.until(method, () => this.sockets.find((socket) => socket.rooms.has(`rpc:${method}`)));
    return owner.timeout(20_000).emitWithAck('rpc-request', { method, params });
  }

  #admit(socket, next) {
    const { token, clientType, sessionId, machineId } = socket.handshake.auth;
    this.dials += 1;
    if (this.faults.old) return next();
    if (this.faults.refuse) return next(new Error(this.faults.refuse));
    if (!token) return next(new Error('Missing authentication token'));
    if (clientType === 'session-scoped' && !sessionId) return next(new Error('Session ID required for session-scoped clients'));
    if (clientType === 'machine-scoped' && !machineId) return next(new Error('Machine ID required for machine-scoped clients'));
    return next(this.tokens.has(token) ? undefined : new Error('Invalid authentication token'));
  }

  #attend(socket) {
    const { clientType, sessionId, machineId } = socket.handshake.auth;
    this.joined.push(socket.id);
    socket.on('disconnect', (reason) => {
      this.left.push(reason);
      this.#changed();
    });
    if (this.faults.old) {
      socket.emit('error', { message: this.faults.refuse });
      return socket.disconnect();
    }
    socket.join(clientType === 'machine-scoped' ? `machine:${machineId}` : `session:${sessionId}`);
    socket.conn.on('heartbeat', () => {
      this.heartbeats += 1;
      this.#changed();
    });
    socket.onAny((name, ...values) => {
      this.events.push(name);
      this.#received.push(JSON.stringify([name, ...values]));
      setImmediate(() => this.#changed()); // once it is dealt with
    });
    this.#handle(socket);
    this.#changed();
  }

  #handle(socket) {
    socket.on('ping', (answer) => answer({}));
    socket.on('message', ({ sid, message, localId }) => {
      const session = this.sessions.get(sid);
      if (session) this.store(session, message, localId ?? null, socket);
    });
    socket.on('session-alive', ({ sid }) => Object.assign(this.sessions.get(sid) ?? {}, { active: true }));
    socket.on('session-end', ({ sid }) => Object.assign(this.sessions.get(sid) ?? {}, { active: false }));
    socket.on('usage-report', (report, answer) => {
      this.usage.push(report);
      answer?.({ success: true, reportId: 'r', createdAt: 1, updatedAt: 1 });
    });
    socket.on('update-metadata', (request, answer) => this.#write(request, 'metadata', answer));
    socket.on('update-state', (request, answer) => this.#write(request, 'agentState', answer));
    socket.on('machine-alive', ({ machineId, time }) => {
      const machine = this.machines.get(machineId);
      if (machine) Object.assign(machine, { active: true, activeAt: time });
    });
    socket.on('machine-update-metadata', (request, answer) => this.#writeMachine(request, 'metadata', answer));
    socket.on('machine-update-state', (request, answer) => this.#writeMachine(request, 'daemonState', answer));
    socket.on('rpc-register', ({ method }) => {
      socket.join(`rpc:${method}`);
      socket.emit('rpc-registered', { method });
    });
    socket.on('rpc-unregister', ({ method }) => {
      socket.leave(`rpc:${method}`);
      socket.emit('rpc-unregistered', { method });
    });
  }

  #write(request, name, answer) {
    const session = this.sessions.get(request.sid);
    if (!session) return name === 'agentState' && answer({ result: 'error' });
    const version = `${name}Version`;
    const race = name === 'metadata' && this.faults.raceMetadata;
    if (race) {
      // Another writer was first, and this one has not heard of it.
      this.faults.raceMetadata = undefined;
      [session.metadata, session.metadataVersion] = [race(session.metadata), session.metadataVersion + 1];
    }
    if (request.expectedVersion !== session[version]) {
      return answer({ result: 'version-mismatch', version: session[version], [name]: session[name] });
    }
    [session[name], session[version]] = [request[name], session[version] + 1];
    this.update(session, { t: 'update-session', id: session.id, [name]: { value: session[name], version: session[version] } });
    return answer({ result: 'success', version: session[version], [name]: session[name] });
  }

  #writeMachine(request, name, answer) {
    const { machineId: id, expectedVersion: expected } = request;
    if (typeof id !== 'string' || typeof expected !== 'number' || typeof request[name] !== 'string') {
      return answer({ result: 'error', message: 'Invalid parameters' });
    }
    const machine = this.machines.get(id);
    if (!machine) return answer({ result: 'error', message: 'Machine not found' });
    const version = `${name}Version`;
    if (expected !== machine[version]) {
      return answer({ result: 'version-mismatch', version: machine[version], [name]: machine[name] });
    }
    [machine[name], machine[version]] = [request[name], expected + 1];
    this.#tell(`machine:${id}`, { t: 'update-machine', machineId: id, [name]: { value: machine[name], version: expected + 1 } });
    return answer({ result: 'success', version: expected + 1, [name]: machine[name] });
  }

  async #serve(request, response) {
    let text = '';
    for await (const chunk of request) text += chunk;
    this.#received.push(text);
    const url = new URL(request.url, this.url);
    const authorised = this.tokens.has(request.headers.authorization?.replace(/^Bearer /, ''));
    const [status, body] = this.#answer(request.method, url, text ? JSON.parse(text) : {}, authorised);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    this.#changed();
  }

  #answer(method, url, body, authorised) {
    if (method === 'POST' && url.pathname === '/v1/auth/request') {
      const answer = this.pairings.get(body.publicKey);
      if (!answer) this.pairings.set(body.publicKey, undefined);
      return [200, answer ? { state: 'authorized', ...answer } : { state: 'requested' }];
    }
    if (!authorised) return [401, { error: 'Invalid token' }];
    if (method === 'POST' && url.pathname === '/v1/sessions') return [200, { session: this.#row(body) }];
    if (method === 'POST' && url.pathname === '/v1/machines') {
      const { id, metadata, dataEncryptionKey = null } = body;
      const fresh = { id, metadata, metadataVersion: 1, daemonState: null, daemonStateVersion: 0, dataEncryptionKey, active: false, activeAt: 1 };
      if (!this.machines.has(id)) this.machines.set(id, fresh);
      return [200, { machine: this.machines.get(id) }];
    }
    const [, version, id] = /^\/(v1|v3)\/sessions\/([^/]+)\/messages$/.exec(url.pathname) ?? [];
    if (!version || (version === 'v3' && this.faults.noV3)) {
      return [404, { message: `Route ${method}:${url.pathname} not found`, error: 'Not Found', statusCode: 404 }];
    }
    const session = this.sessions.get(id);
    if (!session) return [404, { error: 'Session not found' }];
    if (version === 'v1') return [200, { messages: session.messages.slice(-150).reverse() }];
    if (method === 'POST') {
      const rows = body.messages.map(({ content, localId }) => this.store(session, content, localId));
      const messages = rows.map(({ content, ...row }) => row).sort((a, b) => a.seq - b.seq);
      return [200, { messages }];
    }
    const [after, limit] = ['after_seq', 'limit'].map((name) => Number(url.searchParams.get(name)));
    const rest = session.messages.filter(({ seq }) => seq > after);
    return [200, { messages: rest.slice(0, limit || 100), hasMore: rest.length > (limit || 100) }];
  }

  #row({ tag, metadata, dataEncryptionKey = null }) {
    let session = [...this.sessions.values()].find((known) => known.tag === tag);
    if (!session) {
      session = {
        tag, id: `session-${this.sessions.size + 1}`, seq: 0, metadata, metadataVersion: 0, agentState: null,
        agentStateVersion: 0, dataEncryptionKey, active: true, messages: [],
      };
      this.sessions.set(session.id, session);
    }
    const { tag: _tag, messages: _messages, ...row } = session;
    return { ...row, activeAt: 1, createdAt: 1, updatedAt: 1, lastMessage: null };
  }
}
