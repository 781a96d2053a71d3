// A server of remote sessions by the npm package `ws`, for the tests: upgrades what asks as sessions.md §1 says, and
// keeps what it was told.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

export const SESSION = 'session_01 a/b';
export const ORGANIZATION = 'org&1';
const PATH = '/v1/sessions/ws/session_01%20a%2Fb/subscribe?organization_uuid=org%261';
const EVENTS = '/v1/sessions/session_01%20a%2Fb/events';

/** Waits for the next of a kind, in order, also if it came before. */
class Queue {
  #items = [];
  #waiting = [];

  push(item) {
    const next = this.#waiting.shift();
    if (next) next(item);
    else this.#items.push(item);
  }

  next() {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** One connection: `text` gives its messages in order. */
class Connection {
  #texts = new Queue();

  constructor(socket, request) {
    this.socket = socket;
    this.headers = request.headers;
    this.pings = new Queue();
    this.closed = once(socket, 'close').then(([code]) => code);
    socket.on('message', (data, isBinary) => this.#texts.push({ text: data.toString(), isBinary }));
    socket.on('ping', (data) => this.pings.push(data.toString()));
    socket.on('error', () => {}); // a client that is killed resets the connection
  }

  async json() {
    const { text, isBinary } = await this.#texts.next();
    if (isBinary) throw new Error('a binary message');
    return JSON.parse(text);
  }

  send(value) {
    this.socket.send(typeof value === 'string' ? value : JSON.stringify(value));
  }
}

export class SessionServer {
  #connections = new Queue();
  #posts = new Queue();
  /** The status of the next answers, one a dial; then every dial is accepted. */
  refusals = [];
  dials = 0;

  static async start(t, token) {
    const server = new SessionServer();
    const http = createServer((request, response) => server.#answer(request, response, token));
    const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: true });
    http.on('upgrade', (request, socket, head) => {
      server.dials += 1;
      const isRight = request.url === PATH && request.headers['anthropic-version'] === '2023-06-01';
      let status = server.refusals.shift() ?? (isRight ? 101 : 400);
      if (request.headers.authorization !== `Bearer ${token}`) status = 401;
      if (status !== 101) return socket.end(`HTTP/1.1 ${status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      sockets.handleUpgrade(request, socket, head, (open) => server.#connections.push(new Connection(open, request)));
    });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    server.base = `http://127.0.0.1:${http.address().port}`;
    t.after(() => {
      for (const socket of sockets.clients) socket.terminate();
      http.close();
      http.closeAllConnections();
    });
    return server;
  }

  async #answer(request, response, token) {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { method, url, headers } = request;
    const isRight = method === 'POST' && url === EVENTS && headers.authorization === `Bearer ${token}`;
    response.writeHead(this.refusals.shift() ?? (isRight ? 201 : 400)).end('{}');
    this.#posts.push({ headers, body: JSON.parse(body) });
  }

  connection() {
    return this.#connections.next();
  }

  post() {
    return this.#posts.next();
  }
}
