"""Job: what every worker does with the parts it is handed. It travels to other processes by pickle, so
it holds values only; what it opens (connections) lives in the process that opened it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, Protocol, TypeVar

P_contra = TypeVar("P_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

Folded = Callable[[int], None]
"""Called with the number of events folded since the last call."""


class OpenJob(Protocol[P_contra, R_co]):
    async def perform(self, part: P_contra, folded: Folded) -> R_co:
        """Does the work for one part and returns its result, which is small and can be pickled."""


class Job(Protocol, Generic[P_contra, R_co]):
    def open(self) -> AbstractAsyncContextManager[OpenJob[P_contra, R_co]]: ...
