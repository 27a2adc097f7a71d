"""LLVM IR text to machine code in memory. Code from the cache and new code take the same way into memory."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from time import perf_counter
from types import MappingProxyType
from typing import Any

import llvmlite.binding as llvm

from graphc.codegen.target import runs_here
from graphc.errors import LoweringError
from graphc.runtime.cache import Cache
from graphc.target import Target

_START = threading.Lock()


@dataclass(frozen=True)
class Native:
    """Compiled code. It lives as long as this object.

    `seconds` is the time of each stage: parse, optimise, generate and load, or load alone where the cache `key`
    already had the code.
    """

    target: Target
    seconds: Mapping[str, float]
    key: str = field(repr=False)
    _source: Callable[[], str] = field(repr=False)
    _engine: Any = field(repr=False, default=None)

    @cached_property
    def llvm(self) -> str:
        """The LLVM IR that was compiled."""
        return self._source()

    def address(self, name: str) -> int:
        """The address of an exported function. Raises LoweringError if there is none, or if it cannot run."""
        if self._engine is None:
            raise LoweringError(f"code for {self.target.name} cannot run on this processor")
        address = int(self._engine.get_function_address(name))
        if not address:
            raise LoweringError(f"the compiled module exports no function {name}")
        return address

    @cached_property
    def optimised(self) -> str:
        """The LLVM IR after optimisation."""
        with _START:
            return str(_optimised(self.llvm, _machine(self.target)))

    @cached_property
    def assembly(self) -> str:
        """The machine code of the whole module, as text."""
        text = self.llvm
        with _START:
            machine = _machine(self.target)
            return str(machine.emit_assembly(_optimised(text, machine)))

    def assembly_of(self, function: str) -> str:
        """The machine code of one function, as text. Raises LoweringError when there is none of this name."""
        label = rf'"?{re.escape(function)}"?:'
        found = re.search(rf"^{label}.*?(?=^\.?Lfunc_end|\Z)", self.assembly, re.MULTILINE | re.DOTALL)
        if not found:
            raise LoweringError(f"the assembly has no function {function}")
        return found.group()


@lru_cache(maxsize=1)
def _initialise() -> None:
    for name in ("initialize_native_target", "initialize_native_asmprinter"):
        getattr(llvm, name)()


def _machine(target: Target) -> Any:
    _initialise()
    triple = llvm.Target.from_default_triple()
    return triple.create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="default", codemodel="jitdefault", jit=True
    )


def compile_ir(text: str, target: Target, kept: Cache | None = None) -> Native:
    """Compile LLVM IR text for a target, or take its code from a cache.

    Explicit vectors and unrolled loops leave little to optimise: stack cells become registers (pass sroa),
    the code generator does the rest. Raises LoweringError when LLVM refuses the text.
    """
    kept = kept or Cache(None)
    key = object_key(text, target)
    found = load_object(key, target, kept, lambda: text)
    if found is not None:
        return found
    times: dict[str, float] = {}
    with _START:
        machine = _machine(target)
        start = perf_counter()
        module = _parsed(text, machine)
        times["parse"] = perf_counter() - start
        _optimise(module, machine)
        times["optimise"] = perf_counter() - start - times["parse"]
        code = machine.emit_object(module) if runs_here(target) else None
        times["generate"] = perf_counter() - start - sum(times.values())
        engine = None if code is None else _engine(code, target)
        times["load"] = perf_counter() - start - sum(times.values())
    if code is not None:
        kept.put(key, "object", code)
    return Native(target, MappingProxyType(times), key, lambda: text, engine)


def object_key(text: str, target: Target) -> str:
    """Under what the code of a text is kept: it decides every byte of the code."""
    version = f"{llvm.llvm_version_info} {llvm.get_default_triple()} sroa 2"
    return hashlib.sha256("\n".join((version, target.name, target.cpu, target.features, text)).encode()).hexdigest()


def load_object(key: str, target: Target, kept: Cache, source: Callable[[], str]) -> Native | None:
    """The code of a key, if the cache has it. `source` gives the LLVM IR when somebody wants to read it."""
    start = perf_counter()
    code = kept.get(key, "object") if kept.enabled and runs_here(target) else None
    if code is None:
        return None
    with _START:
        engine = _engine(code, target)
    return Native(target, MappingProxyType({"load": perf_counter() - start}), key, source, engine)


def _engine(code: bytes, target: Target) -> Any:
    """Object code at its addresses in memory."""
    machine = _machine(target)
    engine = llvm.create_mcjit_compiler(_parsed("", machine), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _parsed(text: str, machine: Any) -> Any:
    try:
        # The global context: one of its own could be collected before the module that lives in it.
        module = llvm.parse_assembly(text)
        module.triple = llvm.get_default_triple()
        module.data_layout = str(machine.target_data)
        module.verify()
    except RuntimeError as error:
        raise LoweringError(f"LLVM refuses the generated code: {str(error).strip()}") from None
    return module


def _optimise(module: Any, machine: Any) -> None:
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.run(module, llvm.create_pass_builder(machine, options))


def _optimised(text: str, machine: Any) -> Any:
    module = _parsed(text, machine)
    _optimise(module, machine)
    return module
