"""One file for each group of routes; `ROUTERS` lists the routers of every file."""

from service.api.routes import (
    content,
    events,
    generate,
    health,
    internal,
    jobs,
    keys,
    likenesses,
    metrics,
    models,
    usage,
    webhooks,
)

ROUTERS = (
    generate.router,
    likenesses.avatars,
    likenesses.voices,
    jobs.router,
    internal.router,
    content.router,
    events.router,
    models.router,
    usage.router,
    keys.router,
    webhooks.router,
    health.router,
    metrics.router,
)
