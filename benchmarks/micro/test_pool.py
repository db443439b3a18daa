"""A round trip through the pool, beside the standard library's process pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from forkpool import ForkPool

WORKERS = 4
TASKS = 2_000

Benchmark = Callable[..., object]

pytestmark = pytest.mark.benchmark(group=f"{TASKS} small tasks, {WORKERS} workers")


def nothing(number: int) -> int:
    return number


@pytest.fixture(params=[0, 2 * WORKERS], ids=["one by one", "ahead"])
def pool(request: pytest.FixtureRequest) -> Iterator[ForkPool]:
    with ForkPool(WORKERS, ahead=request.param) as pool:
        yield pool


@pytest.fixture
def executor() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("fork")) as executor:
        yield executor


def test_forkpool(benchmark: Benchmark, pool: ForkPool) -> None:
    def work() -> None:
        ended = sent = 0
        while ended < TASKS:
            while sent < TASKS and pool.room:
                sent += 1
                pool.submit(nothing, sent)
            ended += len(pool.wait())

    benchmark(work)


def test_process_pool_executor(benchmark: Benchmark, executor: ProcessPoolExecutor) -> None:
    def work() -> None:
        for future in [executor.submit(nothing, number) for number in range(TASKS)]:
            future.result()

    benchmark(work)
