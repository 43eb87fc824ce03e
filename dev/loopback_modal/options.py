"""Apply the options of `Cls.with_options` to a Function's definition."""

from __future__ import annotations

from modal_proto import api_pb2 as pb

SAME = (
    "retry_policy",
    "timeout_secs",
    "scheduler_placement",
    "target_concurrent_inputs",
    "max_concurrent_inputs",
)
SCALING = {
    "concurrency_limit": "max_containers",
    "task_idle_timeout_secs": "scaledown_window",
    "warm_pool_size": "min_containers",
    "buffer_containers": "buffer_containers",
}


def with_options(base: pb.Function, options: pb.FunctionOptions) -> pb.Function:
    """Return a changed copy: values replace, resources merge, lists extend unless replaced."""
    function = pb.Function()
    function.CopyFrom(base)
    function.resources.MergeFrom(options.resources)
    for name in SAME:
        if options.HasField(name):  # type: ignore[arg-type]
            replace(function, name, getattr(options, name))
    for name, setting in SCALING.items():
        if options.HasField(name):  # type: ignore[arg-type]
            setattr(function.autoscaler_settings, setting, getattr(options, name))
    if options.replace_volume_mounts:
        function.ClearField("volume_mounts")
    if options.replace_secret_ids:
        function.ClearField("secret_ids")
    function.volume_mounts.extend(options.volume_mounts)
    function.secret_ids.extend(options.secret_ids)
    return function


def replace(function: pb.Function, name: str, value: object) -> None:
    if isinstance(value, int):
        setattr(function, name, value)
    else:
        getattr(function, name).CopyFrom(value)
