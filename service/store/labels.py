"""The labels table: one row per label of a job's metadata, so that lists find jobs by index."""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from service.domain.job import Job, Scope
from service.store.job_rows import job_table
from service.store.tables import OF_ALL, LabelRow
from service.store.transaction import Transaction

label_table: sa.Table = LabelRow.__table__  # type: ignore[attr-defined]
_INSERT = sa.insert(label_table)
_OF_ALL = sa.text(OF_ALL)


def insert(tx: Transaction, new: Sequence[Job]) -> None:
    rows = [row for job in new for row in _rows(job)]
    if rows:
        tx.execute(_INSERT, rows)


def delete(tx: Transaction, job: Job) -> None:
    for row in _rows(job):
        same = [label_table.c[name] == value for name, value in row.items()]
        tx.execute(sa.delete(label_table).where(*same))


Condition = sa.ColumnElement[bool] | sa.TextClause


class Source(NamedTuple):
    """The FROM clause of a list of jobs, the column that orders it, and its conditions."""

    table: sa.FromClause
    job_id: sa.ColumnElement[str]
    conditions: list[Condition]


def source(scope: Scope, labels: Sequence[tuple[str, str]]) -> Source:
    """Select the jobs of `scope` that have all these labels, by the index of the first of them.

    The key is compared in the labels table alone: comparing the jobs' column too would make the
    planner read the jobs' indexes and sort all their rows.
    """
    if not labels:
        return Source(job_table, job_table.c.id, _in_scope(job_table, scope))
    (first, *rest), more_labels = labels, label_table.alias()
    join = label_table.join(job_table, job_table.c.id == label_table.c.job_id)
    job_id = label_table.c.job_id
    conditions = [
        sa.exists().where(*_is_label(more_labels, scope, label), more_labels.c.job_id == job_id)
        for label in rest
    ]
    return Source(join, job_id, [*_is_label(label_table, scope, first), *conditions])


def _in_scope(table: sa.FromClause, scope: Scope) -> list[Condition]:
    if scope.key_id is not None:
        return [table.c.key_id == scope.key_id]
    return [_OF_ALL] if table is job_table else []


def _is_label(table: sa.FromClause, scope: Scope, label: tuple[str, str]) -> list[Condition]:
    name, text = label
    return [*_in_scope(table, scope), table.c.name == name, table.c.text == text]


def _rows(job: Job) -> list[dict[str, str]]:
    return [
        {"key_id": job.key_id, "name": name, "text": text, "job_id": job.id}
        for name, text in job.metadata.items()
    ]
