"""Versions, processor and threads: what a bug report should hold."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

from graphc.codegen.target import host
from graphc.runtime.threads import default_threads

PACKAGES = ("numpy", "sympy", "llvmlite", "networkx", "rich", "click")


def environment() -> str:
    """One line for each fact."""
    target = host()
    rows = {
        "graphc": version("graphc"),
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "processor": f"{target.cpu}, {target.name}, {target.vector_bits}-bit vectors",
        "caches": f"L1 {target.l1 >> 10} kB, L2 {target.l2 >> 10} kB, L3 {target.l3 >> 10} kB",
        "threads": str(default_threads()),
        **{name: version(name) for name in PACKAGES},
    }
    return "\n".join(f"{name:<10} {value}" for name, value in rows.items())


def version(package: str) -> str:
    """The installed version of a package."""
    try:
        return installed(package)
    except PackageNotFoundError:
        return "not installed"
