"""The processor that code is generated for."""

from graphc.codegen.target import Target

__all__ = ["Target"]
