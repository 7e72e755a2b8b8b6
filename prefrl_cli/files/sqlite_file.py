"""A SQLite file of ours: what is done is done whole or not at all, and nothing in a stranger's file is executed."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


class SqliteFile:
    """A connection to a file, which is made where there is none; several processes and threads may have one each.

    Args:
        path: the file.
        tables: the statements that make what is in it.
        make: whether what is in it is made where nothing is.
        later: statements that earlier versions did not know; what they make is made where it is missing.

    Raises:
        sqlite3.Error: where it cannot be read or written, also from every method.
        ValueError: where it holds anything else: a view or a trigger would be run by what is asked of it; or nothing,
            where nothing is made.
    """

    def __init__(self, path: Path, tables: Sequence[str], make: bool = True, later: Sequence[str] = ()) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("trusted_schema=OFF", "journal_mode=WAL", "synchronous=FULL"):
                self._connection.execute(f"PRAGMA {pragma}")
            with self.commit():
                named = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'sqlite_sequence'"
                found = {row[0] for row in self.rows(named)}
                if (found or not make) and not set(tables) <= found <= {*tables, *later}:
                    raise ValueError(f"{path.name} holds other tables than ours")
                for statement in (*tables, *later):
                    if statement not in found:
                        self.execute(statement)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._connection.close()

    def execute(self, statement: str, *values: Any) -> None:
        """Do what a statement says."""
        with self._lock:
            self._connection.execute(statement, values)

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a statement finds."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def commit(self, *, durable: bool = True) -> Iterator[None]:
        """What is done within it is done whole or not at all, and outlasts a power cut where it is `durable`."""
        with self._lock:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
