#!/usr/bin/env python3
"""Checks that imports in src/ point down the list of layers, and that they form no cycle.

    .ci/imports.py               checks src/
    .ci/imports.py --self-test   checks that this script finds planted faults

An import is a `use` line, or a path in the code that starts with `crate::`, `super::`, `self::`, `resound::` or the name
of a child module. Comments, string literals and items under `#[cfg(test)]` do not count.

A name is followed through re-exports to the module that defines it: `crate::Token` is an import of `token`, and
`use super::Output` in `protocol/raw.rs` is an import of whatever file defines `Output`. A re-export (`pub use`) is
itself no import unless the file also uses the name.

There are two rules. A file that no `mod` line leads to is an error too.

1. Layers. Each line of LAYERS may import from its own line and from the lines below it. `common` holds what several
   subcommands share (units, signals, listener protocols), so it stands below `cli` and `load` and knows neither.
   `main.rs` and `lib.rs` only assemble the layers: they may import anything, and nothing is defined in them.

2. Cycles. The modules inside one module must not import each other in a cycle, and a module with all its descendants
   counts as one here. So the rule also finds cycles between folders whose files form none.
   A module's own file (`mod.rs`, or `NAME.rs` beside `NAME/`) counts beside its children, with one exception: a child
   may import the types, traits and constants of a module that contains it. They are what such a module shares with its
   children (`Protocol`, `FrameError`), and a type's `impl` blocks are split over files (`reactor/dispatcher/accept.rs`
   extends the `Dispatcher` of `reactor/dispatcher.rs`). Functions are not excepted: where a module's file calls a child,
   the child must not call back.
"""

import pathlib
import re
import sys
import tempfile

LAYERS = [
    ["cli", "check", "lesson", "load"],
    ["admin"],
    ["handover"],
    ["timeline"],
    ["common"],
    ["reactor"],
    ["control"],
    ["protocol"],
    ["frame"],
    ["socket"],
    ["memory", "reason", "token", "plural", "random", "throttle"],
]

RANK = {name: index for index, layer in enumerate(LAYERS) for name in layer}

# What is not code: comments, string literals with their prefixes, characters (a lifetime has no closing quote).
NOT_CODE = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | (?<!\w)[bc]?r(\#*)".*?"\1 | (?<!\w)[bc]?"(?:\\.|[^"\\])*" | b?'(?:\\[^\n]+?|[^\\'\n])'""",
    re.VERBOSE | re.DOTALL,
)
TEST_ITEM = re.compile(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*")
USE = re.compile(r"(?P<public>pub(?:\s*\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]+);")
CHILD = re.compile(r"\bmod\s+(\w+)\s*;")
# A module whose file is elsewhere: an example, which imports nothing from here.
ELSEWHERE = re.compile(r"#\[path[^\]]*\]\s*(?:pub(?:\s*\([^)]*\))?\s+)?mod\s+\w+\s*;")
# The start of a path: not in the middle of another one, and no field or method.
PATH = re.compile(r"(?<![\w:.$])(\w+(?:\s*::\s*\w+)+)")
VISIBILITY = re.compile(r"\bpub\s*\([^)]*\)")
# A type, a trait or a constant.
SHARED = re.compile(r"_?[A-Z]")


def blank(text: str) -> str:
    """Spaces in place of `text`, with its lines kept."""
    return re.sub(r"[^\n]", " ", text)


def without_tests(code: str) -> str:
    """`code` without its items under #[cfg(test)]."""
    while found := TEST_ITEM.search(code):
        end, depth = found.end(), 0
        while end < len(code):
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            end += 1
            if depth == 0 and code[end - 1] in "};":
                break
        code = code[: found.start()] + blank(code[found.start() : end]) + code[end:]
    return code


def flatten(tree: str, prefix: tuple = ()) -> list:
    """The paths of a use tree, each as (segments, the name it gets here); the name of a glob is "*"."""
    tree = tree.strip()
    if not tree:
        return []
    if "{" not in tree:
        path, _, alias = tree.partition(" as ")
        segments = prefix + tuple(part.strip() for part in path.split("::"))
        if segments[-1] == "self":
            segments = segments[:-1]
        return [(segments, alias.strip() or segments[-1])]
    head, _, group = tree.partition("{")
    group = group[: group.rindex("}")]
    prefix += tuple(part.strip() for part in head.split("::") if part.strip())
    paths, depth, start = [], 0, 0
    for at, letter in enumerate(group + ","):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            paths += flatten(group[start:at], prefix)
            start = at + 1
    return paths


class Module:
    """One file: the names it imports, and every path that it mentions."""

    def __init__(self, file: pathlib.Path, name: tuple):
        self.file, self.name = file, name
        whole = NOT_CODE.sub(lambda found: blank(found[0]), file.read_text())
        whole = ELSEWHERE.sub(lambda found: blank(found[0]), whole)
        code = without_tests(whole)
        self.children = set(CHILD.findall(code))
        self.tests = set(CHILD.findall(whole)) - self.children
        self.imported, self.globs, self.mentions = {}, [], []
        uses = list(USE.finditer(code))
        rest = VISIBILITY.sub(lambda found: blank(found[0]), USE.sub(lambda found: blank(found[0]), code))
        for use in uses:
            line = code.count("\n", 0, use.start("tree")) + 1
            for path, alias in flatten(use["tree"]):
                if path[-1] == "*":
                    self.globs.append(path[:-1])
                else:
                    self.imported[alias] = path
                if not use["public"] or re.search(rf"\b{re.escape(alias)}\b", rest):
                    self.mentions.append((line, path))
        for found in PATH.finditer(rest):
            path = tuple(re.split(r"\s*::\s*", found[1]))
            if path[0] in {"crate", "super", "self", "resound"} | self.children:
                self.mentions.append((rest.count("\n", 0, found.start()) + 1, path))


class Tree:
    """All modules below one src/. The library and the binary are one tree: no name is in both."""

    def __init__(self, source: pathlib.Path):
        self.modules = {}
        self.tests = set()
        self.roots = []
        for root in (source / "lib.rs", source / "main.rs"):
            if root.exists():
                self.roots.append(self.load(root, source, (root.stem,)))

    def load(self, file: pathlib.Path, folder: pathlib.Path, name: tuple) -> Module:
        module = self.modules[name] = Module(file, name)
        self.tests |= {folder / test for test in module.tests}
        for child in module.children:
            flat, nested = folder / f"{child}.rs", folder / child / "mod.rs"
            self.load(flat if flat.exists() else nested, folder / child, (*name, child))
        return module

    def home(self, start: tuple, path: tuple, seen: frozenset = frozenset()):
        """What `path` means in the module `start`: the module that defines it, and its name there ("" for the module
        itself); None for other crates."""
        if (start, path) in seen:
            return None
        seen |= {(start, path)}
        at, first = start, True
        for index, segment in enumerate(path):
            module = self.modules[at]
            if first and segment == "crate":
                at = at[:1]
            elif first and segment == "resound":
                at = ("lib",)
            elif segment == "super":
                at = at[:-1]
            elif segment == "self":
                pass
            elif segment in module.children:
                at = (*at, segment)
            elif segment in module.imported and module.imported[segment] != path:
                return self.home(at, module.imported[segment] + path[index + 1 :], seen)
            else:
                if first:
                    return None
                for glob in module.globs:
                    found = self.home(at, glob, seen)
                    if found and re.search(rf"\b{segment}\b", self.modules[found[0]].file.read_text()):
                        return found[0], segment
                return at, segment
            first = False
        return at, ""

    def imports(self) -> list:
        """Each import as (module, line, path, module that defines it, its name there)."""
        found = set()
        for module in self.modules.values():
            for line, path in module.mentions:
                home, item = self.home(module.name, path) or (None, None)
                if home and home != module.name and len(module.name) > 1:
                    found.add((module.name, line, "::".join(path), home, item))
        return sorted(found)


def layer_faults(tree: Tree, where) -> list:
    faults = [
        f"{module.file}: `{module.name[1]}` is in no layer: add it to LAYERS in .ci/imports.py"
        for module in tree.modules.values()
        if len(module.name) == 2 and module.name[1] not in RANK
    ]
    for name, line, path, home, _ in tree.imports():
        if len(home) == 1:
            faults.append(f"{where(name, line)}: `{path}` is defined in {home[0]}.rs, which only assembles the modules")
        elif RANK.get(home[1], 99) < RANK.get(name[1], -1):
            faults.append(f"{where(name, line)}: `{path}` points up, from layer `{name[1]}` to layer `{home[1]}`")
    return faults


def cycle_faults(tree: Tree, where) -> list:
    # For each module: which of its parts import which, with the lines as evidence. Its parts are its children, each with
    # all its descendants, and its own file, which is called `self` here.
    graphs = {}
    for name, line, path, home, item in tree.imports():
        if len(home) == 1 or home == name[: len(home)] and SHARED.match(item):
            continue
        # Between layers the other rule decides. The library and the binary share one root.
        if RANK.get(name[1]) != RANK.get(home[1]):
            continue
        source, target = ("src", *name[1:], "self"), ("src", *home[1:], "self")
        depth = next(at for at, (a, b) in enumerate(zip(source, target)) if a != b)
        edge = graphs.setdefault(source[:depth], {}).setdefault(source[depth], {})
        edge.setdefault(target[depth], []).append((name, line, path))
    faults = []
    for parent, graph in sorted(graphs.items()):
        for group in cycles(graph):
            lines = [
                f"  {where(name, line)}: `{path}` imports {target} into {source}"
                for source in sorted(group)
                for target in sorted(group & graph[source].keys())
                for name, line, path in graph[source][target]
            ]
            faults.append("\n".join([f"{'/'.join(parent)}: {', '.join(sorted(group))} import each other:", *lines]))
    return faults


def cycles(graph: dict) -> list:
    """The sets of nodes that reach each other."""

    def reach(node, seen):
        for target in graph.get(node, ()):
            if target not in seen:
                seen.add(target)
                reach(target, seen)
        return seen

    reached = {node: reach(node, set()) for node in graph}
    groups = {frozenset(other for other in far if node in reached.get(other, ())) for node, far in reached.items()}
    return sorted((group for group in groups if len(group) > 1), key=sorted)


def check(source: pathlib.Path) -> list:
    tree = Tree(source)

    def where(name: tuple, line: int) -> str:
        for root in tree.roots:
            module = tree.modules.get((root.name[0], *name[1:]))
            if module:
                return f"{module.file.relative_to(source.parent)}:{line}"
        raise KeyError(name)

    strays = set(source.rglob("*.rs")) - {module.file for module in tree.modules.values()}
    faults = [
        f"{file.relative_to(source.parent)}: no `mod` line leads to this file"
        for file in sorted(strays)
        if tree.tests.isdisjoint([file.with_suffix(""), *file.parents])
    ]
    return faults + layer_faults(tree, where) + cycle_faults(tree, where)


# Each case: what it shows, its files, and a part of each fault in order.
CASES = [
    (
        "a clean tree with everything that is allowed",
        {
            "lib.rs": "pub mod reactor; mod token; mod reason; pub use token::Token; pub use reason::Reason;",
            "main.rs": "mod cli; fn main() { cli::run() }",
            "cli/mod.rs": "use resound::{Token, reactor};",
            # Comments, strings, tests and a child's use of its parent do not count.
            "reactor/mod.rs": 'mod turn; use crate::{Reason, Token}; // crate::cli\nconst A: &str = "crate::cli::x";\n'
            "#[cfg(test)]\nmod tests { use crate::cli::run; }",
            "reactor/turn.rs": "use super::Reactor; /* crate::cli */",
            "token.rs": "",
            "reason.rs": "use crate::Token;",
        },
        [],
    ),
    (
        "an import that points up, hidden by a re-export",
        {
            "lib.rs": "mod token; mod reactor; pub use reactor::Reactor;",
            "token.rs": "use std::fmt;\nuse crate::Reactor;",
            "reactor/mod.rs": "",
        },
        ["src/token.rs:2: `crate::Reactor` points up, from layer `token` to layer `reactor`"],
    ),
    (
        "a path in the code that points up, without a use line",
        {
            "lib.rs": "mod frame; mod protocol;",
            "frame/mod.rs": "fn f() -> u8 {\n    crate::protocol::length()\n}",
            "protocol.rs": "",
        },
        ["src/frame/mod.rs:2: `crate::protocol::length` points up"],
    ),
    (
        "a cycle of two files",
        {
            "lib.rs": "mod frame;",
            "frame/mod.rs": "mod a; mod b; pub use b::B;",
            "frame/a.rs": "use super::B;",
            "frame/b.rs": "use super::a::A;",
        },
        ["src/frame: a, b import each other:\n  src/frame/a.rs:1: `super::B` imports b into a\n  src/frame/b.rs:1"],
    ),
    (
        "a cycle of three files, one of the imports in a group",
        {
            "lib.rs": "mod frame;",
            "frame/mod.rs": "mod a; mod b; mod c;",
            "frame/a.rs": "use super::{b::{self, B}};",
            "frame/b.rs": "use super::c::C as D;",
            "frame/c.rs": "fn f() { super::a::g() }",
        },
        ["src/frame: a, b, c import each other"],
    ),
    (
        "a cycle of two folders whose files form none",
        {
            "lib.rs": "mod frame;",
            "frame/mod.rs": "mod a; mod b;",
            "frame/a/mod.rs": "mod one; mod two;",
            "frame/a/one.rs": "use crate::frame::b::three::X;",
            "frame/a/two.rs": "",
            "frame/b/mod.rs": "pub mod three; mod four;",
            "frame/b/three.rs": "",
            "frame/b/four.rs": "use crate::frame::a::two::Y;",
        },
        ["src/frame: a, b import each other"],
    ),
    (
        "a module's file calls a child, which calls back",
        {
            "lib.rs": "mod frame;",
            "frame/mod.rs": "mod a;\nfn f() { a::g() }\nfn h() {}",
            "frame/a.rs": "use super::{Frame, LIMIT};\npub(in crate::frame) fn g() { super::h() }",
        },
        ["src/frame: a, self import each other:\n  src/frame/a.rs:2: `super::h` imports self into a\n  src/frame/mod.rs:2"],
    ),
    (
        "a cycle of two layers on one line of the list",
        {
            "main.rs": "mod cli; mod load;",
            "cli/mod.rs": "use crate::load::Run;",
            "load/mod.rs": "use crate::cli::Failure;",
        },
        ["src: cli, load import each other"],
    ),
    (
        "a file that is in no module, beside one that only tests use",
        {
            "lib.rs": "mod token;",
            "token.rs": "#[cfg(test)]\nmod tests;",
            "token/tests.rs": "mod more;",
            "token/tests/more.rs": "",
            "token/old.rs": "",
        },
        ["src/token/old.rs: no `mod` line leads to this file"],
    ),
    (
        "a module whose file is outside",
        {"main.rs": "mod load;", "load/mod.rs": '#[path = "../../examples/x.rs"]\npub(super) mod x;\nfn f() { x::g() }'},
        [],
    ),
    (
        "a module that is in no layer, and a name that the root defines",
        {"lib.rs": "mod token; mod extra; pub struct A;", "token.rs": "use crate::A;", "extra.rs": ""},
        ["`extra` is in no layer", "src/token.rs:1: `crate::A` is defined in lib.rs"],
    ),
]


def self_test() -> int:
    for title, files, expected in CASES:
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "src"
            for name, text in files.items():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_text(text)
            faults = check(source)
        if len(faults) != len(expected) or not all(part in fault for part, fault in zip(expected, faults)):
            print(f"{title}: expected {expected}, found {faults}")
            return 1
    print(f"{len(CASES)} cases")
    return 0


def main() -> int:
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    source = pathlib.Path(__file__).resolve().parent.parent / "src"
    faults = check(source)
    print("\n".join(faults) or f"{len(Tree(source).imports())} imports, none up, no cycle")
    return 1 if faults else 0


sys.exit(main())
