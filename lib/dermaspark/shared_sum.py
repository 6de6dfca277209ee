"""Owns sums over the ranks of one host, in memory that they share: what loopback would carry is not sent at all."""

from __future__ import annotations

import mmap
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermaspark.launch.deaths import PEER_GONE

Array = NDArray[np.float32]
JOIN_SECONDS = 20.0  # for the slowest rank to come


class SharedSum:
    """One rank's end. All ranks call `add_up` equally often, with arrays of the same sizes in the same order.

    Of each array a rank adds up its own share, a stretch of it, and takes the rest from the others: what it reads and
    writes does not grow with their number but for the reading of their part of its share. The ranks meet twice a
    sum, over Unix sockets to rank 0: a meeting blocks without spinning, orders the writes before it and the reads
    after it, and fails where a rank has died.
    """

    def __init__(self, rank: int, ranks: int, floats: int, memory: int, links: Sequence[socket.socket]) -> None:
        """memory: a file descriptor, which is closed; links: rank 0's to all others, and theirs to it."""
        self.rank, self.ranks, self.links = rank, ranks, list(links)
        stride = _stride(floats)
        mapped = mmap.mmap(memory, stride * (ranks + 1))
        os.close(memory)
        *regions, self.sum = [np.frombuffer(mapped, np.float32, floats, stride * i) for i in range(ranks + 1)]
        self.mine, self.others = regions[rank], regions[:rank] + regions[rank + 1 :]

    def add_up(self, *arrays: Array) -> list[Array]:
        """Each array summed over the ranks, the same bits on every rank. ConnectionError where a rank has died."""
        parts = list(self._parts(arrays))
        for place, array, _, rest in parts:
            for stretch in rest:
                self.mine[place][stretch] = array[stretch]
        self._meet()
        sums = [np.empty_like(array) for array in arrays]
        flat = [one.reshape(-1) for one in sums]
        for (place, array, share, _), total in zip(parts, flat, strict=True):
            np.add(array[share], self.others[0][place][share], out=total[share])
            for other in self.others[1:]:
                total[share] += other[place][share]
            self.sum[place][share] = total[share]
        self._meet()
        for (place, _, _, rest), total in zip(parts, flat, strict=True):
            for stretch in rest:
                total[stretch] = self.sum[place][stretch]
        return sums

    def _parts(self, arrays: Sequence[Array]) -> Iterator[tuple[slice, Array, slice, tuple[slice, slice]]]:
        """For each array its place in a region, itself made flat, this rank's share of it, and what is left."""
        start = 0
        for array in arrays:
            low, high = array.size * self.rank // self.ranks, array.size * (self.rank + 1) // self.ranks
            rest = (slice(0, low), slice(high, array.size))
            yield slice(start, start + array.size), array.reshape(-1), slice(low, high), rest
            start += array.size

    def _meet(self) -> None:
        try:
            if self.rank:
                self.links[0].sendall(b"\0")
                _hear(self.links[0])
            else:
                for link in self.links:
                    _hear(link)
                for link in self.links:
                    link.sendall(b"\0")
        except OSError as error:  # reset, where the other had not read what it was sent
            raise ConnectionError(PEER_GONE) from error


class Meeting:
    """Where rank 0 waits for the others: a socket that the user alone can reach."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()  # goes with the rank's own where the rank is killed
        self.address = str(Path(self._folder.name) / "ranks")
        self._listener = socket.socket(socket.AF_UNIX)
        with _short(self.address) as name:
            self._listener.bind(name)
        self._listener.listen()
        self._listener.settimeout(JOIN_SECONDS)

    def lead(self, ranks: int, floats: int) -> SharedSum:
        """Rank 0's end, when all others have joined. TimeoutError where one does not come."""
        memory = os.memfd_create("dermaspark-sum")  # it has no name that could be left behind
        os.ftruncate(memory, _stride(floats) * (ranks + 1))
        links = [self._listener.accept()[0] for _ in range(ranks - 1)]
        for link in links:
            socket.send_fds(link, [b"\0"], [memory])
        return SharedSum(0, ranks, floats, memory, links)

    def close(self) -> None:
        self._listener.close()
        self._folder.cleanup()


def join(address: str, rank: int, ranks: int, floats: int) -> SharedSum:
    """The end of a rank but 0. OSError where rank 0 is not of this host, or can't be reached."""
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(JOIN_SECONDS)
    with _short(address) as name:
        link.connect(name)
    _, received, *_ = socket.recv_fds(link, 1, 1)
    if not received:
        raise ConnectionError("rank 0 waits no longer")
    link.settimeout(None)
    return SharedSum(rank, ranks, floats, received[0], [link])


@contextmanager
def _short(address: str) -> Iterator[str]:
    """Another name of the same file, while the block lasts: a socket's has room for 107 bytes alone."""
    folder, name = os.path.split(address)
    opened = os.open(folder, os.O_PATH)
    try:
        yield f"/proc/self/fd/{opened}/{name}"
    finally:
        os.close(opened)


def _stride(floats: int) -> int:
    """Bytes from one region to the next: whole pages."""
    return -(-4 * floats // mmap.PAGESIZE) * mmap.PAGESIZE


def _hear(link: socket.socket) -> None:
    if not link.recv(1):
        raise ConnectionError("the other end is closed")
