"""One file for each group of routes; `ROUTERS` lists the router of every file."""

from service.api.routes import (
    avatars,
    content,
    events,
    generate,
    health,
    internal,
    jobs,
    keys,
    metrics,
    models,
    usage,
    voices,
    webhooks,
)

ROUTERS = tuple(
    module.router
    for module in (
        generate,
        avatars,
        voices,
        jobs,
        internal,
        content,
        events,
        models,
        usage,
        keys,
        webhooks,
        health,
        metrics,
    )
)
