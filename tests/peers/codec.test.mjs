// The relay's packet codecs against the packages that the real server is made of, `engine.io-parser` and
// `socket.io-parser`: packets by chance, as those packages write them and changed, read by both (relay.md §1.1, §1.2).
// HALLWAY_PACKETS names the program; HALLWAY_SEED repeats a run.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { it } from 'node:test';
import { decodePacket, encodePacket } from 'engine.io-parser';
import { Decoder, Encoder, PacketType } from 'socket.io-parser';

if (!process.env.HALLWAY_PACKETS) {
  throw new Error('HALLWAY_PACKETS must name the program, for example HALLWAY_PACKETS=target/debug/packets');
}

const PACKETS = resolve(process.env.HALLWAY_PACKETS);
const CASES = 20_000;
const SEED = Number(process.env.HALLWAY_SEED ?? Math.floor(Math.random() * 2 ** 32));
/** The package takes whitespace for digits of an id; ours refuses it. */
const BLANK_ID = /^4[0-4](\/[^,]*,?)?\d*\s/;
const ALPHABET = '0123456789[]{}"\\/,:-.aeu\u00e9\u{1f600}';

let state = SEED;
/** A whole number below `most`. */
function below(most) {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) % most;
}
const one = (of) => of[below(of.length)];
const some = (make, most = 4) => Array.from({ length: below(most) }, make);

const word = () => some(() => one([...'abz09_ "\\/\n\u0000\u2028\u00e9', '\u{1f600}', '\ud800', 'connect', 'ping']), 6).join('');

function value(depth = 3) {
  switch (below(depth > 0 ? 7 : 5)) {
    case 0: return null;
    case 1: return below(2) === 1;
    case 2: return one([0, -1, 1.5, 1e21, -1e-7, below(2 ** 31)]);
    case 3: case 4: return word();
    case 5: return some(() => value(depth - 1));
    default: return Object.fromEntries(some(() => [word(), value(depth - 1)]));
  }
}

/** A packet that a server or a client may send, and some that they may not. */
function packet() {
  const nsp = one(['/', '/', '/', '/admin', '/a/b', '/1']);
  const id = one([undefined, 0, 7, below(2 ** 31)]);
  switch (below(5)) {
    case 0: return { type: PacketType.CONNECT, nsp, data: one([undefined, { sid: word() }, value()]) };
    case 1: return { type: PacketType.DISCONNECT, nsp };
    case 2: return { type: PacketType.EVENT, nsp, id, data: [one([word(), 'update', 7, 'disconnect', value()]), ...some(value)] };
    case 3: return { type: PacketType.ACK, nsp, id: id ?? 0, data: some(value) };
    default: return { type: PacketType.CONNECT_ERROR, nsp, data: one([{ message: word() }, word(), value()]) };
  }
}

/** The frame that the packages make of it. */
function written(packet) {
  const [data] = new Encoder().encode(packet);
  let frame;
  encodePacket({ type: 'message', data }, true, (encoded) => { frame = encoded; });
  return frame;
}

/** A few characters of it are others, missing or more. */
function changed(frame) {
  const characters = [...frame];
  for (let times = 1 + below(3); times > 0; times -= 1) {
    const at = 1 + below(characters.length);
    characters.splice(at, below(2), ...some(() => one([...ALPHABET]), 3));
  }
  return characters.join('');
}

/** How the packages read it: a packet, or nothing. */
function theirs(frame) {
  const engine = decodePacket(frame, 'nodebuffer');
  if (engine.type !== 'message') return { engine };
  let found;
  const decoder = new Decoder();
  decoder.on('decoded', (packet) => { found = packet; });
  try {
    decoder.add(engine.data ?? '');
  } catch {
    return undefined;
  } finally {
    decoder.destroy();
  }
  return found;
}

/** The parts of a packet that both tell: only events and acknowledgements have an id that means anything. */
function parts({ type, nsp, id, data }) {
  const counted = type === PacketType.EVENT || type === PacketType.ACK;
  return JSON.stringify([type, nsp, counted ? (id ?? null) : null, data === undefined ? 'none' : [data]]);
}

function ours(read) {
  const { type, nsp, id, data } = read;
  return parts({ type, nsp, id: id === null ? undefined : Number(id), data: data === null ? undefined : JSON.parse(data) });
}

/** All frames, read by the program. */
async function readAll(frames) {
  const child = spawn(PACKETS, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(frames.map((frame) => `${JSON.stringify(frame)}\n`).join(''));
  const lines = (await text(child.stdout)).trimEnd().split('\n');
  assert.equal(lines.length, frames.length);
  return lines.map((line) => JSON.parse(line));
}

// Covers: R1.15, R1.19, R1.20, R1.21, R1.22
it(`packets are read as by the real server's packages (HALLWAY_SEED=${SEED})`, async () => {
  const made = Array.from({ length: CASES }, () => {
    const frame = written(packet());
    return below(2) === 0 ? frame : changed(frame);
  });
  const frames = made.filter((frame) => !BLANK_ID.test(frame));
  const read = await readAll(frames);
  let both = 0;
  let neither = 0;
  for (const [index, frame] of frames.entries()) {
    // Binary packets wait for attachments there, and are refused here.
    if (frame[1] === '5' || frame[1] === '6') {
      assert.ok(read[index].violation, frame);
      continue;
    }
    const expected = theirs(frame);
    if (expected === undefined) {
      assert.ok(read[index].violation, `accepted: ${JSON.stringify(frame)}`);
      neither += 1;
      continue;
    }
    assert.equal(read[index].violation, undefined, `refused: ${JSON.stringify(frame)}`);
    assert.equal(ours(read[index]), parts(expected), JSON.stringify(frame));
    assert.equal(parts(theirs(read[index].again)), parts(expected), `written: ${JSON.stringify(read[index].again)}`);
    both += 1;
  }
  assert.ok(both > CASES / 3 && neither > CASES / 20, `${both} read, ${neither} refused by both`);
});

// Covers: R1.3
it('packets of the engine are told apart as by the package', async () => {
  const frames = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).flatMap((type) => [type, `${type}probe`]);
  const read = await readAll(frames);
  for (const [index, frame] of frames.entries()) {
    const engine = decodePacket(frame, 'nodebuffer');
    if (engine.type === 'error') assert.ok(read[index].violation, JSON.stringify(frame));
    if (engine.type === 'ping' || engine.type === 'pong') assert.equal(read[index].engine, frame);
  }
});
