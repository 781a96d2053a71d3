#!/usr/bin/env python3
"""Proves for all inputs that machine code of the core equals its formula over the integers.

angr runs each exported function symbolically: every path, every input. Each path's condition
and result are translated into exact integer arithmetic (a wrap-around becomes an explicit
multiple of 2^n), and z3 is asked for an input on which the result differs from the formula.
There is none: proved. Every proof has a control: a formula that is wrong on few inputs, which
must be refuted by a counterexample, or the proof proves nothing.

Usage: prove.py <shared object> [--deep | <name of a proof>…]
"""

import functools
import logging
import operator
import sys
import time

# angr speaks of parts that it does not find and that nothing here needs.
logging.disable(logging.CRITICAL)

import angr  # noqa: E402
import angr.engines.vex.claripy.ccall as flags  # noqa: E402
import claripy  # noqa: E402
import z3  # noqa: E402

RETURN = 0xDEAD0000
VALUES = 0x70000000
OUT = 0x70001000
U64 = 2**64 - 1
GIGA = 10**9
LAST_MILLI = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z

# The limits as the documentation of `Limits` states them: name, least, greatest.
LIMITS = [
    ("max_frame_bytes", 512, 16_777_216),
    ("max_frame_depth", 128, 65_536),
    ("max_inbox_entries", 1, 1_000_000),
    ("max_inbox_bytes", 512, 1_073_741_824),
    ("max_inbox_entries_per_peer", 1, 1_000_000),
    ("max_inbox_bytes_per_peer", 512, 1_073_741_824),
    ("max_clients", 1, 65_536),
    ("max_clients_per_peer", 1, 65_536),
    ("max_unauthenticated_clients", 1, 65_536),
    ("max_refused_clients", 1, 65_536),
    ("max_outbox_bytes", 1_024, 16_777_216),
    ("max_pending_sends", 1, 65_536),
    ("auth_timeout", 1, 3_600_000),
    ("idle_timeout", 1, 86_400_000),
    ("closing_timeout", 1, 60_000),
    ("send_timeout", 1, 3_600_000),
    ("ping_timeout", 1, 3_600_000),
    ("connect_timeout", 1, 3_600_000),
]


def flags_of_unsigned_product(state, bits, a, b, _, platform=None):
    """The flags after `mul`; angr takes the upper half from the lower one, where it is not."""
    product = claripy.ZeroExt(bits, a) * claripy.ZeroExt(bits, b)
    over = claripy.If(product[2 * bits - 1 : bits] != 0, claripy.BVV(1, 1), claripy.BVV(0, 1))
    # All others are undefined.
    others = [state.solver.BVS(f"undefined_{name}", 1) for name in ("pf", "af", "zf", "sf")]
    return flags.pc_make_rdata(flags.data[platform]["size"], over, *others, over, platform=platform)


flags.pc_actions_UMUL = flags_of_unsigned_product


@functools.cache
def is_division(most, factor, size, divisor):
    """Whether x * factor // size = x // divisor for all x up to `most`: how compilers divide."""
    value, quotient = z3.Ints("value quotient")
    solver = z3.Solver()
    solver.set("rlimit", 50_000_000)
    solver.add(0 <= value, value <= most)
    solver.add(quotient * size <= value * factor, value * factor < quotient * size + size)
    solver.add(z3.Or(value < quotient * divisor, quotient * divisor + divisor <= value))
    return solver.check() == z3.unsat


class Integers:
    """Translates bit-vector terms into integer terms. `bounds` are those that an assumption
    gives to inputs; all others are of full width."""

    def __init__(self, bounds=None):
        self.facts = []
        self.terms = {}
        self.masks = {}
        self.products = {}
        self.bounds = bounds or {}
        self.inputs = {}

    def fresh(self, low, high):
        term = z3.Int(f"i{len(self.facts)}")
        self.facts += [term >= low, term <= high]
        return term

    def wrapped(self, term, low, high, bits):
        size = 1 << bits
        if 0 <= low and high < size:
            return term, low, high
        if self.impossible(z3.Or(term < 0, term >= size)):
            return term, max(low, 0), min(high, size - 1)
        rest = self.fresh(0, size - 1)
        self.facts.append(term == self.fresh(low // size, high // size) * size + rest)
        return rest, 0, size - 1

    def cut(self, term, low, high, size):
        """Quotient and rest of a term that is not negative."""
        if high < size:
            return (z3.IntVal(0), 0, 0), (term, low, high)
        least, most = low // size, high // size
        lemma = []
        if term.get_id() in self.products:
            _, value, factor, ends = self.products[term.get_id()]
            divisor = -(-size // factor)
            if is_division(ends[1], factor, size, divisor):
                least, most = (end // divisor for end in ends)
                lemma = [divisor]
        quotient, rest = self.fresh(least, most), self.fresh(0, size - 1)
        self.facts.append(term == quotient * size + rest)
        self.facts += [z3.And(quotient * d <= value, value < quotient * d + d) for d in lemma]
        return (quotient, least, most), (rest, 0, size - 1)

    def impossible(self, condition):
        """Whether a condition is seen at once not to hold; what is not seen stays a case."""
        solver = z3.Solver()
        solver.set("rlimit", 2_000_000)
        solver.add(self.facts)
        return solver.check(condition) == z3.unsat

    def of(self, vector):
        return self.bounded(vector)[0]

    def bounded(self, vector):
        key = vector.hash()
        if key not in self.terms:
            self.terms[key] = self.translated(vector)
        return self.terms[key]

    def translated(self, vector):
        op, bits, args = vector.op, vector.size(), vector.args
        if op == "BVV":
            return z3.IntVal(args[0]), args[0], args[0]
        if op == "BVS":
            low, high = self.bounds.get(args[0], (0, (1 << bits) - 1))
            term = self.fresh(low, high)
            self.inputs[args[0]] = term
            return term, low, high
        if op == "ZeroExt":
            return self.bounded(args[1])
        if op == "Concat":
            term, low, high = z3.IntVal(0), 0, 0
            for part in args:
                (more, least, most), size = self.bounded(part), 1 << part.size()
                term, low, high = term * size + more, low * size + least, high * size + most
            return term, low, high
        if op == "Extract":
            whole = self.bounded(args[2])
            if args[2].hash() in self.masks:
                mask = self.masks[vector.hash()] = self.masks[args[2].hash()]
                most = (1 << bits) - 1
                return z3.If(mask == 1, most, 0), 0, most
            kept, _ = self.cut(*whole, 1 << args[1])
            _, kept = self.cut(*kept, 1 << bits)
            return kept
        if op in ("LShR", "__rshift__") and args[1].op == "BVV":
            if op == "__rshift__" and self.bounded(args[0])[2] >> (bits - 1):
                raise NotImplementedError("a negative number is shifted")
            kept, _ = self.cut(*self.bounded(args[0]), 1 << args[1].args[0])
            return kept
        if op in ("__add__", "__sub__", "__mul__"):
            return self.wrapped(*self.unwrapped(vector), bits)
        if op == "__invert__":
            term, low, high = self.bounded(args[0])
            most = (1 << bits) - 1
            return most - term, most - high, most - low
        if op in ("__and__", "__or__", "__xor__"):
            return self.bitwise(op, bits, args)
        if op == "If":
            condition = self.holds(args[0])
            if self.impossible(condition):
                return self.bounded(args[2])
            if self.impossible(z3.Not(condition)):
                return self.bounded(args[1])
            (a, a_low, a_high), (b, b_low, b_high) = (self.bounded(part) for part in args[1:])
            return z3.If(condition, a, b), min(a_low, b_low), max(a_high, b_high)
        raise NotImplementedError(op)

    def unwrapped(self, vector):
        """A term that equals the vector but for a multiple of 2^n: sums and products are taken
        whole, and cut once."""
        op, bits, args = vector.op, vector.size(), vector.args
        if op == "__add__":
            return tuple(map(sum, zip(*map(self.unwrapped, args))))
        if op == "__sub__":
            (a, a_low, a_high), (b, b_low, b_high) = map(self.unwrapped, args)
            return a - b, a_low - b_high, a_high - b_low
        if op != "__mul__":
            return self.bounded(vector)
        others = [part for part in args if part.op != "BVV"]
        factor = 1
        for part in args:
            if part.op == "BVV":
                factor = factor * part.args[0] % (1 << bits)
        if factor >> (bits - 1):
            factor -= 1 << bits
        if len(others) == 1:
            term, low, high = self.unwrapped(others[0])
        else:
            term, low, high = z3.IntVal(1), 1, 1
            for part in others:
                more, least, most = self.bounded(part)
                term, low, high = term * more, low * least, high * most
        if factor == -1 and (low, high) == (0, 1):
            most = (1 << bits) - 1
            self.masks[vector.hash()] = term
            return z3.If(term == 1, most, 0), 0, most
        product = term * factor
        if factor > 1 and low >= 0:
            self.products[product.get_id()] = (product, term, factor, (low, high))
        return product, *sorted((low * factor, high * factor))

    def bitwise(self, op, bits, args):
        """Flags, masks of low bits, and masks that are all ones or all zeros: what compilers
        make of integer code."""
        constants = [part.args[0] for part in args if part.op == "BVV"]
        if op == "__and__" and len(args) == 2 and constants and constants[0] & (constants[0] + 1) == 0:
            (other,) = [part for part in args if part.op != "BVV"]
            _, kept = self.cut(*self.bounded(other), constants[0] + 1)
            return kept
        sizes = next(([piece.size() for piece in part.args] for part in args if part.op == "Concat"), [])
        if sizes and all(part.op == "BVV" or [piece.size() for piece in part.args] == sizes for part in args):
            pieces, above = [], bits
            for size in sizes:
                rows = [claripy.Extract(above - 1, above - size, part) for part in args]
                pieces.append(functools.reduce(getattr(operator, op), rows))
                above -= size
            return self.bounded(claripy.Concat(*pieces))
        parts = [self.bounded(part) for part in args]
        if all(0 <= low and high <= 1 for _, low, high in parts):
            sum_of = sum(term for term, _, _ in parts)
            found = {
                "__and__": sum_of == len(parts),
                "__or__": sum_of >= 1,
                "__xor__": z3.Or([sum_of == odd for odd in range(1, len(parts) + 1, 2)]),
            }[op]
            return z3.If(found, 1, 0), 0, 1
        masks = [self.masks.get(part.hash()) for part in args]
        if op == "__or__" and len(args) == 2 and any(mask is not None for mask in masks):
            which = 0 if masks[0] is not None else 1
            most = (1 << bits) - 1
            return z3.If(masks[which] == 1, most, parts[1 - which][0]), 0, most
        raise NotImplementedError(op)

    def holds(self, condition):
        op, args = condition.op, condition.args
        if op == "BoolV":
            return z3.BoolVal(args[0])
        if op in ("And", "Or"):
            return getattr(z3, op)(*map(self.holds, args))
        if op == "Not":
            return z3.Not(self.holds(args[0]))
        a, b = (self.of(part) for part in args)
        return {
            "ULT": lambda: a < b,
            "ULE": lambda: a <= b,
            "UGT": lambda: a > b,
            "UGE": lambda: a >= b,
            "__lt__": lambda: a < b,
            "__le__": lambda: a <= b,
            "__gt__": lambda: a > b,
            "__ge__": lambda: a >= b,
            "__eq__": lambda: a == b,
            "__ne__": lambda: a != b,
        }[op]()


class Path:
    """One way through a function, to its return."""

    def __init__(self, state):
        self.state = state
        self.condition = list(state.solver.constraints)
        self.result = state.regs.rax

    def out(self, index):
        return self.state.memory.load(OUT + 8 * index, 8, endness="Iend_LE")

    def text(self, index, expected):
        """Whether the address at `index` of the output is that of `expected`."""
        (address,) = self.state.solver.eval_upto(self.out(index), 2)
        found = self.state.memory.load(address, len(expected))
        return self.state.solver.eval(found, cast_to=bytes) == expected.encode()


def low(term, bits):
    return claripy.Extract(bits - 1, 0, term)


class Binary:
    def __init__(self, path):
        self.project = angr.Project(path, auto_load_libs=False)
        # The object is linked against nothing.
        for name in ("memcpy", "memmove", "memset", "memcmp"):
            self.project.hook_symbol(name, angr.SIM_PROCEDURES["libc"][name]())
        self.project.hook_symbol("bcmp", angr.SIM_PROCEDURES["libc"]["memcmp"]())

    def paths(self, function, arguments, values=()):
        """Every path of a function to its return, and the conditions of all others."""
        entry = self.project.loader.find_symbol(function).rebased_addr
        state = self.project.factory.call_state(
            entry,
            *arguments,
            ret_addr=RETURN,
            add_options={
                angr.options.ZERO_FILL_UNCONSTRAINED_MEMORY,
                angr.options.ZERO_FILL_UNCONSTRAINED_REGISTERS,
            },
        )
        for index, value in enumerate(values):
            state.memory.store(VALUES + 8 * index, value, endness="Iend_LE")
        manager = self.project.factory.simgr(state)
        manager.explore(find=RETURN, num_find=1 << 20)
        others = [error.state for error in manager.errored]
        for stash in ("active", "deadended", "unconstrained"):
            others += manager.stashes.get(stash, [])
        return [Path(state) for state in manager.found], others


class Refuted(Exception):
    pass


def impossible(integers, conditions):
    solver = z3.Solver()
    solver.set("timeout", 900_000)
    solver.add(integers.facts)
    solver.add(conditions)
    verdict = solver.check()
    if verdict == z3.unknown:
        raise RuntimeError(f"not decided: {solver.reason_unknown()}")
    if verdict == z3.sat:
        model = solver.model()
        raise Refuted({name: model.eval(term) for name, term in integers.inputs.items()})


def check(paths, others, formula, assumed, bounds):
    """`formula` gives for a path what must hold of its result; `assumed` restricts the inputs."""
    for path in paths:
        integers = Integers(bounds)
        wanted = formula(path, integers)
        conditions = [integers.holds(part) for part in path.condition]
        impossible(integers, [*conditions, *assumed(integers), z3.Not(wanted)])
    for state in others:
        integers = Integers(bounds)
        conditions = [integers.holds(part) for part in state.solver.constraints]
        impossible(integers, [*conditions, *assumed(integers)])
    # Every input takes one of the paths.
    integers = Integers(bounds)
    taken = [z3.And([integers.holds(part) for part in path.condition]) for path in paths]
    impossible(integers, [*assumed(integers), z3.Not(z3.Or(taken))])


PROOFS = {}


def proof(function):
    PROOFS[function.__name__] = function
    return function


DEEP = {}


def deep(function):
    """A proof that takes minutes: only on demand."""
    DEEP[function.__name__] = function
    return function


def prove(binary, name, words, function, arguments, formula, controls,
          values=(), assumed=lambda _: [], bounds=None):
    started = time.monotonic()
    paths, others = binary.paths(function, arguments, values)
    check(paths, others, lambda path, i: formula(path, i, None), assumed, bounds)
    print(f"proved   {name}: {words} ({len(paths)} paths, {time.monotonic() - started:.1f} s)", flush=True)
    for control in controls:
        started = time.monotonic()
        try:
            check(paths, others, lambda path, i, c=control: formula(path, i, c), assumed, bounds)
        except Refuted as refuted:
            print(f"refuted  {name}, control: {control} at {refuted} ({time.monotonic() - started:.1f} s)", flush=True)
            continue
        raise SystemExit(f"{name}: the control was not refuted: {control}")


def least(a, b):
    return z3.If(a < b, a, b)


def divides(value, divisor, quotient, rest):
    return z3.And(quotient * divisor + rest == value, 0 <= rest, rest < divisor)


@proof
def instant_after(binary):
    nanos, secs, subsec = claripy.BVS("nanos", 64), claripy.BVS("secs", 64), claripy.BVS("subsec", 32)

    def formula(path, i, control):
        span = i.of(secs) * GIGA + i.of(subsec)
        if control == "the span is not capped":
            return i.of(path.result) == (i.of(nanos) + span) % 2**64
        most = U64 - 1 if control == "the end of time is one nanosecond earlier" else U64
        return i.of(path.result) == least(i.of(nanos) + least(span, most), most)

    prove(
        binary, "instant_after",
        "Instant::after = min(nanos + min(span, 2^64-1), 2^64-1) for all nanos < 2^64 and spans",
        "instant_after", [nanos, secs, subsec], formula,
        ["the end of time is one nanosecond earlier", "the span is not capped"],
        assumed=lambda i: [i.of(subsec) < GIGA],
    )


@proof
def instant_since(binary):
    later, earlier = claripy.BVS("later", 64), claripy.BVS("earlier", 64)

    def formula(path, i, control):
        a, b = i.of(later), i.of(earlier)
        span = z3.If(a > b, a - b, b - a if control == "a negative span is turned round" else 0)
        second = GIGA + 1 if control == "a second is longer" else GIGA
        return divides(span, second, i.of(path.out(0)), i.of(path.out(1)))

    prove(
        binary, "instant_since",
        "Instant::since = max(later - earlier, 0), in whole seconds and nanoseconds",
        "instant_since", [later, earlier, OUT], formula,
        ["a negative span is turned round", "a second is longer"],
    )


@proof
def unix_from_millis(binary):
    millis = claripy.BVS("millis", 64)

    def formula(path, i, control):
        last = LAST_MILLI + (control == "the year ten thousand has a millisecond")
        taken = i.of(low(path.result, 8)) == 1
        refused = i.of(low(path.result, 8)) == 0
        value = i.of(millis)
        return z3.If(value <= last, z3.And(taken, i.of(path.out(0)) == value), refused)

    prove(
        binary, "unix_from_millis",
        "UnixTime::from_millis takes exactly 0 to the end of the year 9999, unchanged",
        "unix_from_millis", [millis, OUT], formula,
        ["the year ten thousand has a millisecond"],
    )


@proof
def unix_since(binary):
    later, earlier = claripy.BVS("later", 64), claripy.BVS("earlier", 64)

    def formula(path, i, control):
        a, b = i.of(later), i.of(earlier)
        span = z3.If(a > b, a - b, 1 if control == "no span is empty" else 0)
        answer = i.of(low(path.result, 8))
        seconds, nanos = i.of(path.out(0)), i.of(path.out(1))
        millis = span - seconds * 1_000
        given = z3.And(answer == 1, nanos == millis * 1_000_000, 0 <= millis, millis < 1_000)
        return z3.If(z3.And(a <= LAST_MILLI, b <= LAST_MILLI), given, answer == 0)

    prove(
        binary, "unix_since",
        "UnixTime::since = max(later - earlier, 0), in whole seconds and nanoseconds",
        "unix_since", [later, earlier, OUT], formula,
        ["no span is empty"],
    )


@proof
def frame_too_long_seen(binary):
    limit = claripy.BVS("limit", 64)

    def formula(path, i, control):
        more = 2 if control == "two bytes too many" else 1
        return i.of(path.result) == least(i.of(limit) + more, U64)

    prove(
        binary, "frame_too_long_seen", "FrameTooLong::seen = min(limit + 1, 2^64-1)",
        "frame_too_long_seen", [limit], formula, ["two bytes too many"],
    )


@proof
def span_is_kept(binary):
    secs, subsec, millis = claripy.BVS("secs", 64), claripy.BVS("subsec", 32), claripy.BVS("millis", 64)

    def formula(path, i, control):
        part, rest = i.fresh(0, 2**32), i.fresh(0, 999_999)
        i.facts.append(i.of(subsec) == part * 1_000_000 + rest)
        whole = i.of(secs) * 1_000 + part
        if control == "a part of a millisecond is rounded up":
            whole = z3.If(rest > 0, whole + 1, whole)
        kept = least(whole, U64)
        return i.of(low(path.result, 8)) == z3.If(i.of(millis) == kept, 1, 0)

    prove(
        binary, "span_is_kept",
        "a span given to LimitsBuilder is kept as min(its whole milliseconds, 2^64-1)",
        "span_is_kept_as", [secs, subsec, millis], formula,
        ["a part of a millisecond is rounded up"],
        assumed=lambda i: [i.of(subsec) < GIGA],
    )


@proof
def limits_build(binary):
    values = [claripy.BVS(name, 64, explicit_name=True) for name, _, _ in LIMITS]
    at = {name: index for index, (name, _, _) in enumerate(LIMITS)}

    def in_range(i, index, control):
        name, least_value, most_value = LIMITS[index]
        if control == f"{name} may be one more":
            most_value += 1
        if control == f"{name} may be one less":
            least_value -= 1
        value = i.of(values[index])
        return z3.And(least_value <= value, value <= most_value)

    def formula(path, i, control):
        (code,) = path.state.solver.eval_upto(low(path.result, 32), 2)
        ranges = [in_range(i, index, control) for index in range(len(LIMITS))]
        frame = i.of(values[at["max_frame_bytes"]])
        bounds = ["max_inbox_bytes", "max_inbox_bytes_per_peer"]
        if control == "one inbox bound is not looked at":
            bounds.pop()
        fits = [frame <= i.of(values[at[bound]]) for bound in bounds]
        if code == 0:
            back = [i.of(path.out(n)) == i.of(value) for n, value in enumerate(values)]
            return z3.And(*ranges, *fits, *back)
        if code == 1:
            (index,) = [n for n, (name, _, _) in enumerate(LIMITS) if named(path, 0, name)]
            _, least_value, most_value = LIMITS[index]
            ends = [i.of(path.out(1)) == least_value, i.of(path.out(2)) == most_value]
            return z3.And(*ranges[:index], z3.Not(ranges[index]), *ends)
        if code == 2 and named(path, 0, "max_frame_bytes"):
            found = [n for n, bound in enumerate(bounds) if named(path, 1, bound)]
            if found:
                return z3.And(*ranges, *fits[: found[0]], z3.Not(fits[found[0]]))
        return z3.BoolVal(False)

    def named(path, index, name):
        longer = any(other != name and other.startswith(name) and path.text(index, other)
                     for other, _, _ in LIMITS)
        return path.text(index, name) and not longer

    prove(
        binary, "limits_build",
        "LimitsBuilder::build takes exactly what is in range and fits, unchanged, and else names the first fault",
        "limits_build", [VALUES, OUT], formula,
        ["max_clients may be one more", "closing_timeout may be one less",
         "one inbox bound is not looked at"],
        values=values,
    )


def taken_bounds():
    return {name: (least_value, most_value) for name, least_value, most_value in LIMITS}


@proof
def worst_case_bytes(binary):
    values = [claripy.BVS(name, 64, explicit_name=True) for name, _, _ in LIMITS]
    sizes, _ = binary.paths("entry_bytes", [])
    (entry,) = sizes[0].state.solver.eval_upto(sizes[0].result, 2)
    usage = 24  # a u32 beside two usize
    slack = 64  # of an entry whose memory was another's
    spares = 65_536 + 256 * 2 * 24  # that memory, in strings of three usize

    def formula(path, i, control):
        value = {name: i.of(term) for (name, _, _), term in zip(LIMITS, values)}
        answer = i.of(low(path.result, 8))
        each = value["max_frame_bytes"] + 1 + value["max_outbox_bytes"] + 1_024
        clients = value["max_clients"] + value["max_refused_clients"]
        if control == "refused clients take no memory":
            clients = value["max_clients"]
        entries = value["max_inbox_entries"] * (2 * entry + 2 * usage + slack)
        total = clients * each + value["max_inbox_bytes"] + entries + spares
        fits = z3.And(
            value["max_frame_bytes"] <= value["max_inbox_bytes"],
            value["max_frame_bytes"] <= value["max_inbox_bytes_per_peer"],
        )
        equal = z3.And(answer == 1, i.of(path.out(0)) == total, total < 2**63)
        return z3.If(fits, equal, answer == 0)

    prove(
        binary, "worst_case_bytes",
        "Limits::worst_case_bytes = the exact sum, below 2^63, for all limits that are taken",
        "worst_case_bytes", [VALUES, OUT], formula,
        ["refused clients take no memory"],
        values=values, bounds=taken_bounds(),
    )


@proof
def first_deadline(binary):
    now = claripy.BVS("now", 64)
    auth = claripy.BVS("auth_timeout", 64, explicit_name=True)
    idle = claripy.BVS("idle_timeout", 64, explicit_name=True)
    bounds = {name: ends for name, ends in taken_bounds().items() if name in ("auth_timeout", "idle_timeout")}

    def formula(path, i, control):
        due = [i.of(now) + i.of(span) * 1_000_000 for span in (auth, idle)]
        first = due[0] if control == "idleness is not looked at" else least(*due)
        most = U64 - 1 if control == "the end of time is one nanosecond earlier" else U64
        deadline = i.of(path.out(0)) == least(first, most)
        return z3.And(i.of(low(path.result, 8)) == 1, deadline)

    prove(
        binary, "first_deadline",
        "a new Connection's deadline = min(now + auth timeout, now + idle timeout, 2^64-1)",
        "first_deadline", [now, auth, idle, OUT], formula,
        ["idleness is not looked at", "the end of time is one nanosecond earlier"],
        bounds=bounds,
    )


def delays(binary, name, growth, spread, counts):
    """Schedule::delay for one growth and spread and each of `counts`; None: for every other."""
    words = ("first_secs", "first_subsec", "max_secs", "max_subsec")
    spans = [claripy.BVS(word, 64, explicit_name=True) for word in words]
    random, rest = (claripy.BVS(*word, explicit_name=True) for word in (("random", 64), ("n", 32)))
    kinds = ("constant", "linear", "double").index(growth) * 3 + ("none", "full", "half").index(spread)
    bounds = {word: (0, GIGA - 1) for word in words if word.endswith("subsec")}
    if growth == "double":
        bounds["n"] = (65, 2**32 - 1)

    def formula(path, i, control, n):
        first, most = (least(i.of(spans[at]) * GIGA + i.of(spans[at + 1]), U64) for at in (0, 2))
        if growth == "double":
            factor = U64 if n is None else min(2 ** max(n - 1, 0), U64)
        else:
            factor = i.of(rest) if growth == "linear" else 1

        def part(whole):
            return (whole + 1) * i.of(random) / 2**64

        span = least(first * factor, U64)
        if spread == "full":
            span = part(least(span, most))
        elif spread == "half":
            span = least(span - span / 2 + part(span), U64)
        if control == "the longest delay is one nanosecond shorter":
            most = most - 1
        return divides(least(span, most), GIGA, i.of(path.out(0)), i.of(path.out(1)))

    for n in counts:
        which = "all n" if growth != "double" else "all n > 64" if n is None else f"n = {n}"
        prove(
            binary, name, f"Schedule::delay, growth {growth}, spread {spread}, {which}, for all spans and random numbers",
            "schedule_delay",
            [claripy.BVV(kinds, 32), VALUES, rest if n is None else claripy.BVV(n, 32), random, OUT],
            lambda path, i, control, n=n: formula(path, i, control, n),
            ["the longest delay is one nanosecond shorter"] if n is None else [],
            values=spans, bounds=bounds,
        )


@proof
def schedule_delay(binary):
    for growth, spread in (("constant", "none"), ("constant", "full"), ("constant", "half"), ("linear", "none"), ("linear", "full")):
        delays(binary, "schedule_delay", growth, spread, [None])
    delays(binary, "schedule_delay", "double", "none", [1, 2, 64, None])


@deep
def schedule_delay_double(binary):
    delays(binary, "schedule_delay_double", "double", "none", range(65))


def main():
    binary = Binary(sys.argv[1])
    known = PROOFS | DEEP
    chosen = known if sys.argv[2:] == ["--deep"] else sys.argv[2:] or PROOFS
    started = time.monotonic()
    for name in chosen:
        known[name](binary)
    print(f"{len(chosen)} proved, every control refuted, in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
