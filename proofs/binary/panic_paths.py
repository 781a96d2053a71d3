#!/usr/bin/env python3
"""Lists every panic that is linked into the core's release build, and where it comes from.

Usage: panic_paths.py <list of argued ones> <object without the standard library>
    <the same with the relay> <object with the standard library>

A function is a panic if it never returns: it panics or aborts. Every place that
calls, jumps to or takes the address of one is looked up in the line tables, with all that was
inlined there: the innermost frame that is not of the standard library is responsible. What is
not compiled in has no such place: the optimiser has shown that it cannot happen, for arguments
of which it knows nothing (`src/surface.rs`).

In the objects without the standard library everything linked is looked at. In the other, the
core and what it calls, through any number of direct calls.

Fails on a panic that nobody argued for. What stands in the libraries depends on the compiler's
release: under another than the list was made with, those panics are shown and not judged.
"""

import re
import subprocess
import sys
from collections import Counter

LIBRARY = ("core", "alloc", "std")
OWN = "hallway_core"
CANARY = "hallway_binary::surface::canary"


def output(*command, text=None):
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


class Function:
    def __init__(self, name):
        self.name = name
        self.instructions = []
        self.references = []  # (at, operation, target)


def functions_of(path):
    """Functions by address, with what each refers to."""
    functions, current = {}, None
    for line in output("objdump", "-d", "--no-show-raw-insn", path).splitlines():
        if header := re.fullmatch(r"([0-9a-f]+) <(.*)>:", line):
            current = functions[int(header[1], 16)] = Function(header[2])
        elif current and (row := re.match(r"\s+([0-9a-f]+):\s+(\S.*)", line)):
            current.instructions.append((int(row[1], 16), row[2].strip()))
    names = output("c++filt", text="\n".join(f.name for f in functions.values())).splitlines()
    for function, name in zip(functions.values(), names, strict=True):
        function.name = re.sub(r"\[[0-9a-f]{16}\]", "", re.sub(r"::h[0-9a-f]{16}$", "", name))
    for address, function in functions.items():
        for at, text in function.instructions:
            if target := re.search(r"\b([0-9a-f]+) <[^>]*(?:>[^>]*)*>$", text):
                target = int(target[1], 16)
                if target in functions and target != address:
                    function.references.append((at, text.split()[0], target))
    return functions


def panics_of(functions):
    """The functions that never return: what panics and what aborts."""
    panics = set()
    while True:
        more = {
            address
            for address, function in functions.items()
            if address not in panics
            and all(target in panics for _, op, target in function.references if op.startswith("j"))
            and not any(re.match(r"(notrack |bnd )?(ret|jmp +\*)", text) for _, text in function.instructions)
        }
        if not more:
            break
        panics |= more
    assert any("rust_begin_unwind" in functions[address].name for address in panics), "no panic handler"
    return panics


def addresses_in_data(path):
    """Addresses that tables hold: what is called through them is not seen as a call."""
    rows = output("readelf", "--relocs", "--wide", path).splitlines()
    found = (re.search(r"R_X86_64_RELATIVE\s+([0-9a-f]+)$", row) for row in rows)
    return {int(row[1], 16) for row in found if row}


def crate_of_file(file):
    if found := re.search(r"/library/(\w+)/src/", file):
        return found[1]
    if found := re.search(r"/registry/src/[^/]+/([\w-]+?)-\d[^/]*/", file):
        return found[1]
    if file.endswith("?") and "/" not in file:
        return "unknown"
    return OWN if "/core/src/" in file else "hallway_binary"


def stacks_of(path, addresses):
    """The inlined frames at each address, innermost first: function, file, line."""
    stacks, frames = {}, None
    rows = iter(output("addr2line", "-e", path, "-a", "-i", "-f", "-C", text="\n".join(map(hex, addresses))).splitlines())
    for row in rows:
        if row.startswith("0x"):
            frames = stacks[int(row, 16)] = []
        else:
            file, _, line = next(rows).partition(" ")[0].rpartition(":")
            frames.append((row, file, line))
    return stacks


def source_line(file, line):
    if not line.isdigit():
        return "?"
    with open(file) as source:
        return source.read().splitlines()[int(line) - 1].strip()


def panics_linked(path, with_std):
    """Prints what is linked; the panics to be argued for, by crate, place and source line."""
    functions = functions_of(path)
    panics = panics_of(functions)
    in_tables = panics & addresses_in_data(path)
    assert not in_tables, [functions[a].name for a in in_tables]

    looked_at = set(functions) - panics
    if with_std:
        looked_at = {a for a in looked_at if "hallway_" in functions[a].name}
        queue = list(looked_at)
        while queue:
            for _, _, target in functions[queue.pop()].references:
                if target not in looked_at | panics:
                    looked_at.add(target)
                    queue.append(target)
    sites = [(a, at, target) for a in sorted(looked_at) for at, _, target in functions[a].references if target in panics]
    stacks = stacks_of(path, [at for _, at, _ in sites])

    memory, trees, others = Counter(), Counter(), Counter()
    canary = cleanup = 0
    for address, at, target in sites:
        function, stack = functions[address], stacks[at]
        canary += function.name == CANARY
        text = " ".join([functions[target].name, *(name for name, _, _ in stack)])
        crate, place, line, inner = blamed(function, stack)
        if crate == "hallway_binary":
            continue  # what calls the core here, and the canary
        if re.search(r"panic_in_cleanup|panic_cannot_unwind", functions[target].name):
            cleanup += 1
        elif re.search(r"handle_alloc_error|raw_vec::handle_error|capacity_overflow", text):
            memory[crate] += 1
        elif any("/alloc/src/collections/btree/" in file for file in inner):
            trees[crate] += 1
        else:
            others[crate, place, line] += 1

    assert canary == 1, "the canary's panic was not found: this check checks nothing"
    print(f"{len(functions)} functions linked, {len(looked_at)} looked at, {len(panics)} of them panics, {len(sites)} places lead to one")
    print(f"  memory that cannot be had: {sum(memory.values())} places ({listed(memory)})")
    print(f"  the maps' own assertions about their nodes: {sum(trees.values())} places ({listed(trees)})")
    if cleanup:
        print(f"  a second panic while a first one unwinds: {cleanup} places")
    return others


def blamed(function, stack):
    """Who is responsible for a place: crate, file, source line, and the library's files inlined there."""
    at = next((n for n, (_, file, _) in enumerate(stack) if crate_of_file(file) not in LIBRARY), None)
    if at is None:
        return "library", function.name, "*", [file for _, file, _ in stack]
    _, file, line = stack[at]
    crate = crate_of_file(file)
    place = re.sub(rf".*/(core/src/|{crate}-[^/]*/)", lambda found: re.sub(r"-[^/]*", "", found[1]), file)
    inner = [file for _, file, _ in stack[:at]] or [file]
    return crate, place, source_line(file, line) if crate == OWN else "*", inner


def argued_in(path):
    """The argued panics, and the compiler's release that the list was made with."""
    argued, release = set(), None
    with open(path) as rows:
        for row in rows:
            if found := re.match(r"# rustc (\S+)", row):
                release = found[1]
            elif not row.startswith("#") and row.strip():
                place, _, reason = row.strip().rpartition(" | ")
                assert reason, row
                argued.add(tuple(place.split(" | ", 2)))
    return argued, release


def main():
    argued_path, *objects = sys.argv[1:]
    argued, release = argued_in(argued_path)
    same = output("rustc", "--version").split()[1] == release
    failed, found = False, set()
    kinds = ("without the standard library", "the same, with the relay", "with the standard library")
    for path, kind in zip(objects, kinds, strict=True):
        print(f"== {kind}")
        with_std = kind == kinds[-1]
        others = panics_linked(path, with_std)
        found |= others.keys()
        for crate in (OWN, *sorted({crate for crate, _, _ in others} - {OWN})):
            mine = {key: count for key, count in others.items() if key[0] == crate}
            print(f"  {crate}: {sum(mine.values())} other places")
            for key, count in sorted(mine.items()):
                judged = same or crate == OWN
                failed |= judged and key not in argued
                word = "argued" if key in argued else "NEW   " if judged else "shown "
                print(f"    {word} {count} × {' | '.join(key)}")
    if not same:
        print(f"the libraries' panics are argued for rustc {release}, which this is not")
    for key in sorted(argued - found if same else ()):
        failed = True
        print(f"STALE  {' | '.join(key)}: it is not linked; take it from {argued_path}")
    sys.exit(failed)


def listed(counts):
    return ", ".join(f"{crate} {count}" for crate, count in sorted(counts.items())) or "none"


if __name__ == "__main__":
    main()
