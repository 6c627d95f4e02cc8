"""Work on a cluster, by dask.distributed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from importlib.metadata import version
from typing import Any, TypeVar

from napari_car.errors import CarError, InputError, MissingExtraError

Item = TypeVar("Item")
Result = TypeVar("Result")


def connect(address: str) -> Any:
    """A ``distributed.Client`` of the scheduler at an address such as ``tcp://host:8786``.

    Raises
    ------
    MissingExtraError
        If dask.distributed is not installed.
    InputError
        If nobody answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise MissingExtraError("A batch on a cluster", "distributed") from None
    try:
        return Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"no dask scheduler answers at {address!r} ({' '.join(str(error).split())})") from error


def run_on_cluster(
    client: Any, work: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[tuple[Item, Result | None], None, None]:
    """Do work on every item: yields items with their results as they come, None where it took several workers along.

    What a lost worker was at is done again by another one. Closing the generator cancels what is not yet begun.

    Parameters
    ----------
    client
        A ``distributed.Client``; its workers see the same files at the same paths and have the same napari-car.
    work
        Can be pickled.
    items
        Can be pickled.

    Raises
    ------
    CarError
        If the workers cannot do it.
    """
    from distributed import KilledWorker, as_completed

    _check_workers(client)
    todo = list(items)
    futures = client.map(work, todo, pure=False)
    arriving = as_completed(futures, loop=client.loop)
    pending = {future.key: (future, item) for future, item in zip(futures, todo, strict=True)}
    del futures  # the cluster forgets a result when it has been told
    try:
        for future in arriving:
            _, item = pending.pop(future.key)
            try:
                result = future.result()
            except KilledWorker:
                result = None
            yield item, result
    finally:
        client.cancel([future for future, _ in pending.values()])


def _check_workers(client: Any) -> None:
    """Refuse workers that would not do the same as this process."""
    ours = version("napari-car")
    try:
        theirs = client.run(version, "napari-car")
    except Exception as error:  # whatever the worker raised
        raise CarError(f"the workers of the cluster do not have napari-car ({error})") from error
    for worker, found in theirs.items():
        if found != ours:
            raise CarError(f"worker {worker} has napari-car {found}, here it is {ours}; both must be the same")
