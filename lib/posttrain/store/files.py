"""Files that are whole or not there, folders sealed by hashes, locks that die with their process, tables that
grow by steps."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout
from pyarrow import parquet

from posttrain.config import ROOT


class StoreError(ValueError):
    """Something stored is not what it should be; the message is one line that says what to do."""


def write(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def hashes(folder: Path, besides: str) -> dict[str, str]:
    """SHA-256 of every file of `folder` but `besides`, by name."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != besides)
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in files}


def seal(folder: Path, name: str, record: dict[str, Any]) -> None:
    """Write `record` as `folder`/`name`, with the hashes of the files beside it and of itself."""
    record = {**record, "files": hashes(folder, name)}
    write(folder / name, json.dumps({**record, "seal": _seal(record)}, indent=1) + "\n")


def _seal(record: dict[str, Any]) -> str:
    content = {key: value for key, value in record.items() if key != "seal"}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_record(path: Path) -> dict[str, Any]:
    """A run.json or card.json; StoreError where it is none or was edited."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise StoreError(f"{shown(path)}: cannot be read; {_remedy(path.parent)}") from None
    if not isinstance(record, dict) or record.get("seal") != _seal(record):
        raise StoreError(f"{shown(path)}: edited; {_remedy(path.parent)}")
    return record


def edits(folder: Path, name: str) -> list[str]:
    """What was edited, lost or added in a folder since `seal`: one line each, empty if nothing."""
    try:
        record = read_record(folder / name)
    except StoreError as error:
        return [str(error)]
    before, now = record.get("files", {}), hashes(folder, name)
    others = {path.name: "no file" for path in folder.iterdir() if path.name not in (*now, name)}
    if record.get("kept") == "card" and not {**now, **others}:
        return []  # of a foundation whose weights lie elsewhere, or nowhere
    told = {
        file: "no part of it" if file not in before else "edited" if file in now else "missing"
        for file in sorted({*before, *now, *others})
        if before.get(file) != now.get(file, others.get(file))
    }
    remedy = _remedy(folder)
    return [
        f"{shown(folder / file)}: {what}; {'remove it' if what == 'no part of it' else remedy}"
        for file, what in told.items()
    ]


def _remedy(folder: Path) -> str:
    if folder.is_relative_to(ROOT / "data"):
        return f"bring it back with: git checkout -- {shown(folder)} (or remove it, to make it anew)"
    return f"remove {shown(folder)}, and the next build makes it again"


def joined(paths: list[Path]) -> pd.DataFrame:
    """Tables of the same kind, .csv or .parquet, as one; its index says in which of `paths` a row stands.

    One by one, hundreds of small ones take twice as long, and most of a chapter's time."""
    if paths[0].suffix == ".parquet":
        parts = _as_numbers([_arrow(path) for path in paths])
        rows = pa.concat_tables(parts, promote_options="permissive").to_pandas()
        return rows.set_axis(np.repeat(np.arange(len(parts)), [len(part) for part in parts]))
    alike: dict[bytes, dict[int, bytes]] = {}
    for number, path in enumerate(paths):
        header, *lines = filter(bytes.strip, path.read_bytes().splitlines())
        alike.setdefault(header, {})[number] = b"".join(line + b"\n" for line in lines)
    frames = []
    for header, bodies in alike.items():
        rows = pd.read_csv(io.BytesIO(b"\n".join([header, b"".join(bodies.values())])))
        frames.append(rows.set_axis(np.repeat([*bodies], [body.count(b"\n") for body in bodies.values()])))
    return pd.concat(frames).sort_index(kind="stable")


def _arrow(path: Path) -> pa.Table:
    with parquet.ParquetFile(path, memory_map=True) as file:
        return file.read(use_threads=False)


def _as_numbers(parts: list[pa.Table]) -> list[pa.Table]:
    """The same, with flags as numbers where other parts have numbers: a case was played once, or often."""
    fields = [field for part in parts for field in part.schema]
    mixed = {field.name for field in fields if field.type == pa.float64()}
    mixed &= {field.name for field in fields if field.type == pa.bool_()}
    if not mixed:
        return parts
    numbers = [
        pa.schema([field.with_type(pa.float64()) if field.name in mixed else field for field in part.schema])
        for part in parts
    ]
    return [part.cast(schema) for part, schema in zip(parts, numbers)]


def shown(path: Path) -> Path:
    """A path as messages give it: from the repository's folder on."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


@contextmanager
def locked(root: Path, key: str, name: str) -> Iterator[None]:
    """One process at a time makes what has this key; whoever comes later says so, by `name`, and waits. A
    killed process holds no lock."""
    path = root / "build" / "locks" / f"{key}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{name}: another process is making it; waiting for it to end", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Tables:
    """Tables that grow by parts, one a step; a step written again replaces itself, so a resumed run ends with
    the same tables."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def put(self, name: str, step: int, rows: pd.DataFrame) -> None:
        write(self.folder / f"{name}-{step:08d}.parquet", rows.assign(step=step).to_parquet(index=False))

    def steps(self, name: str) -> list[int]:
        return sorted(int(path.stem.rpartition("-")[2]) for path in self.folder.glob(f"{name}-*.parquet"))

    def get(self, name: str) -> pd.DataFrame:
        parts = [pd.read_parquet(self.folder / f"{name}-{step:08d}.parquet") for step in self.steps(name)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
