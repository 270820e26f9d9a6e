#!/usr/bin/env python3
"""The part of `cargo deny check licenses sources` that needs no cargo-deny, for machines without it.

Reads the allowed licences from deny.toml, and every package of a Linux build from `cargo metadata`.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINUX = "x86_64-unknown-linux-gnu"


def allowed(expression: str, licences: set[str]) -> bool:
    """Whether the SPDX `expression` can be met by `licences` alone."""
    expression = re.sub(r"\s+WITH\s+[\w.-]+", "", expression).replace("/", " OR ")
    words = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    python = [words.get(word) or str(word in licences) for word in re.findall(r"[()]|[\w.+-]+", expression)]
    return eval(" ".join(python), {"__builtins__": {}})


def main() -> int:
    licences = set(tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]["allow"])
    metadata = json.loads(
        subprocess.check_output(
            ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={LINUX}"], cwd=ROOT
        )
    )
    used = {node["id"] for node in metadata["resolve"]["nodes"]}
    packages = [package for package in metadata["packages"] if package["id"] in used]
    wrong = []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if not (package["source"] or "registry+").startswith("registry+"):
            wrong.append(f"{name}: from {package['source']}, which is not the registry")
        if not allowed(package["license"] or "none", licences):
            wrong.append(f"{name}: licence {package['license']}, which deny.toml does not allow")
    print("\n".join(wrong) or f"{len(packages)} packages, all from the registry, under licences in deny.toml")
    return 1 if wrong else 0


sys.exit(main())
