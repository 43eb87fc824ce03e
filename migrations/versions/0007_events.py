"""Events in a table of their own, at which deliveries point; requests that say of which kind they
are."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.String(30).with_variant(sa.String(30, collation="C"), "postgresql")
_JSON = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True, astext_type=Text()), "postgresql"
)


def upgrade() -> None:
    _make_events()
    _point_deliveries_at_events()
    op.add_column("jobs", sa.Column("kind", sa.String(16), server_default="video", nullable=False))
    op.add_column("jobs", sa.Column("api", sa.String(40), server_default="rushes", nullable=False))
    for statement in _KINDS[op.get_bind().dialect.name]:
        op.execute(statement)


def _make_events() -> None:
    op.create_table(
        "events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("job_id", _ID, nullable=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("snapshot", _JSON, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_events_key_id_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_owner", "events", ["key_id", "id"])
    op.create_index("ix_events_job", "events", ["job_id", "id"])
    op.create_index("ix_events_age", "events", ["created_at"])


def _point_deliveries_at_events() -> None:
    op.add_column("deliveries", sa.Column("event_id", sa.BigInteger(), nullable=True))
    _record_events_to_render()
    with op.batch_alter_table("deliveries") as batch:
        batch.drop_constraint("uq_deliveries_job_id_event_sequence_url", type_="unique")
        batch.drop_column("sequence")
        batch.drop_column("snapshot")
        batch.create_foreign_key(
            op.f("fk_deliveries_event_id_events"), "events", ["event_id"], ["id"],
            ondelete="SET NULL",
        )  # fmt: skip
        batch.create_unique_constraint(op.f("uq_deliveries_event_id_url"), ["event_id", "url"])


def _record_events_to_render() -> None:
    """Record an event for each delivery whose body is not yet rendered from its snapshot."""
    connection = op.get_bind()
    deliveries = sa.table(
        "deliveries",
        *(sa.column(name) for name in ("id", "key_id", "job_id", "event", "created_at", "body")),
        sa.column("snapshot", _JSON),
        sa.column("event_id"),
    )
    events = sa.table(
        "events",
        *(sa.column(name) for name in ("id", "key_id", "job_id", "kind", "created_at")),
        sa.column("snapshot", _JSON),
    )
    unrendered = sa.select(deliveries).where(deliveries.c.body.is_(None))
    for row in connection.execute(unrendered.order_by(deliveries.c.id)).all():
        event_id = connection.execute(
            sa.insert(events)
            .values(
                key_id=row.key_id,
                job_id=row.job_id,
                kind=row.event,
                snapshot=row.snapshot,
                created_at=row.created_at,
            )
            .returning(events.c.id)
        ).scalar_one()
        connection.execute(
            sa.update(deliveries).where(deliveries.c.id == row.id).values(event_id=event_id)
        )


# A request names its kind wherever it is stored: in jobs, their fallbacks, and in copies of jobs.
_KINDS = {
    "sqlite": [
        """
        UPDATE jobs SET request = json_set(request, '$.kind', 'video')
        """,
        """
        UPDATE jobs SET fallbacks = (
            SELECT json_group_array(json_set(value, '$.request.kind', 'video'))
            FROM json_each(jobs.fallbacks)
        ) WHERE fallbacks IS NOT NULL
        """,
        """
        UPDATE idempotency SET accepted = json_set(accepted, '$.request.kind', 'video')
        """,
        """
        UPDATE idempotency SET accepted = json_set(accepted, '$.fallbacks', (
            SELECT json_group_array(json_set(value, '$.request.kind', 'video'))
            FROM json_each(idempotency.accepted, '$.fallbacks')
        )) WHERE json_type(accepted, '$.fallbacks') = 'array'
        """,
        """
        UPDATE events SET snapshot = json_set(snapshot, '$.request.kind', 'video')
        WHERE snapshot IS NOT NULL
        """,
    ],
    "postgresql": [
        """
        UPDATE jobs SET request = jsonb_set(request, '{kind}', '"video"')
        """,
        """
        UPDATE jobs SET fallbacks = (
            SELECT coalesce(jsonb_agg(jsonb_set(value, '{request,kind}', '"video"')), '[]')
            FROM jsonb_array_elements(fallbacks)
        ) WHERE jsonb_typeof(fallbacks) = 'array'
        """,
        """
        UPDATE idempotency SET accepted = jsonb_set(accepted, '{request,kind}', '"video"')
        """,
        """
        UPDATE idempotency SET accepted = jsonb_set(accepted, '{fallbacks}', (
            SELECT coalesce(jsonb_agg(jsonb_set(value, '{request,kind}', '"video"')), '[]')
            FROM jsonb_array_elements(accepted->'fallbacks')
        )) WHERE jsonb_typeof(accepted->'fallbacks') = 'array'
        """,
        """
        UPDATE events SET snapshot = jsonb_set(snapshot, '{request,kind}', '"video"')
        WHERE snapshot IS NOT NULL
        """,
    ],
}
