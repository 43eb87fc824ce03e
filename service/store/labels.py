"""The labels table: a job's metadata once more, one row a label, so that lists find it by index."""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from service.domain.ids import KeyId
from service.domain.job import Job
from service.store.job_rows import job_table
from service.store.tables import LabelRow
from service.store.transaction import Transaction

label_table: sa.Table = LabelRow.__table__  # type: ignore[attr-defined]
_INSERT = sa.insert(label_table)


def insert(tx: Transaction, new: Sequence[Job]) -> None:
    rows = [row for job in new for row in _rows(job)]
    if rows:
        tx.execute(_INSERT, rows)


def delete(tx: Transaction, job: Job) -> None:
    for row in _rows(job):
        same = [label_table.c[name] == value for name, value in row.items()]
        tx.execute(sa.delete(label_table).where(*same))


class Source(NamedTuple):
    """Where the jobs of a list come from: a table, the column by which it is in order, and what
    holds for its rows."""

    table: sa.FromClause
    job_id: sa.ColumnElement[str]
    conditions: list[sa.ColumnElement[bool]]


def source(key_id: KeyId, labels: Sequence[tuple[str, str]]) -> Source:
    """Jobs of a key that have all these labels, found by the first of them.

    The key is asked of the labels alone: by the jobs' own, their indexes of models and states would
    be read and all that is found there sorted.
    """
    if not labels:
        return Source(job_table, job_table.c.id, [job_table.c.key_id == key_id])
    (first, *others), other = labels, label_table.alias()
    joined = label_table.join(job_table, job_table.c.id == label_table.c.job_id)
    own = label_table.c.job_id
    more = [
        sa.exists().where(*_is(other, key_id, label), other.c.job_id == own) for label in others
    ]
    return Source(joined, own, [*_is(label_table, key_id, first), *more])


def _is(
    table: sa.FromClause, key_id: KeyId, label: tuple[str, str]
) -> list[sa.ColumnElement[bool]]:
    name, text = label
    return [table.c.key_id == key_id, table.c.name == name, table.c.text == text]


def _rows(job: Job) -> list[dict[str, str]]:
    return [
        {"key_id": job.key_id, "name": name, "text": text, "job_id": job.id}
        for name, text in job.metadata.items()
    ]
