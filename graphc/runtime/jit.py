"""LLVM IR text to machine code in memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from time import perf_counter
from types import MappingProxyType
from typing import Any

import llvmlite.binding as llvm

from graphc.codegen.target import runs_here
from graphc.errors import LoweringError
from graphc.target import Target

_START = threading.Lock()


@dataclass(frozen=True)
class Native:
    """Compiled code. It lives as long as this object.

    `llvm` is the text that was compiled; `seconds` the time of each stage: parse, optimise, generate.
    """

    llvm: str
    target: Target
    seconds: Mapping[str, float]
    _engine: Any = field(repr=False, default=None)
    _bitcode: bytes | None = field(repr=False, default=None)

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
        return str(self._module())

    @cached_property
    def assembly(self) -> str:
        """The machine code of the whole module, as text."""
        with _START:
            return str(_machine(self.target).emit_assembly(self._module()))

    def assembly_of(self, function: str) -> str:
        """The machine code of one function, as text. Raises LoweringError when there is none of this name."""
        label = rf'"?{re.escape(function)}"?:'
        found = re.search(rf"^{label}.*?(?=^\.?Lfunc_end|\Z)", self.assembly, re.MULTILINE | re.DOTALL)
        if not found:
            raise LoweringError(f"the assembly has no function {function}")
        return found.group()

    def _module(self) -> Any:
        if self._bitcode is None:
            raise LoweringError("the assembly was not kept", hint="compile with keep_assembly=True")
        return llvm.parse_bitcode(self._bitcode)


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


def compile_ir(text: str, target: Target, *, keep_assembly: bool = True) -> Native:
    """Compile LLVM IR text for a target. `keep_assembly` keeps what is needed to show the machine code later.

    Explicit vectors and unrolled loops leave little to optimise: stack cells become registers (pass sroa),
    the code generator does the rest. Raises LoweringError when LLVM refuses the text.
    """
    with _START:
        machine = _machine(target)
        times: dict[str, float] = {}
        clock = perf_counter()

        def lap(stage: str) -> None:
            nonlocal clock
            now = perf_counter()
            times[stage], clock = now - clock, now

        try:
            # The global context: one of its own could be collected before the module that lives in it.
            module = llvm.parse_assembly(text)
            module.triple = llvm.get_default_triple()
            module.data_layout = str(machine.target_data)
            module.verify()
        except RuntimeError as error:
            raise LoweringError(f"LLVM refuses the generated code: {str(error).strip()}") from None
        lap("parse")
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = options.slp_vectorization = False
        passes = llvm.create_new_module_pass_manager()
        passes.add_sroa_pass()
        passes.run(module, llvm.create_pass_builder(machine, options))
        lap("optimise")
        bitcode = module.as_bitcode() if keep_assembly else None
        engine = None
        if runs_here(target):
            engine = llvm.create_mcjit_compiler(module, machine)
            engine.finalize_object()
        lap("generate")
    return Native(text, target, MappingProxyType(times), engine, bitcode)
