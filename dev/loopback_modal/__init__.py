"""A loopback Modal for development and tests: deploy, run, cancel and crash without an account.

A gRPC control plane on Modal's own published stubs (`modal_proto.api_grpc`), on 127.0.0.1 only.
Deployed Functions really run: each container is one local process of Modal's own runtime
(`python -m modal._container_entrypoint`), fed a real ContainerArguments file, with nothing but
the uploaded source on its path and the packages of this interpreter (every image is the local
interpreter; the checkout of an editable install is hidden from the container).

    python -m dev.loopback_modal --state DIR [--port N] [--grpc-port N] [--cron]

It prints one JSON line with its URLs and the environment that points `modal` at it. Tests use
`harness.loopback_modal`. Container logs lie in DIR/tasks/<container>/log.txt.

**What a green test proves.** Our code works against Modal's *client* (deploy, from_name, spawn,
get, cancel, Volumes, Dicts, Secrets, the CLI) and against Modal's *container runtime* (import,
@enter, @exit, ASGI, input slots, cancellation, SIGINT, commit at exit), in the version installed.
It proves that the image holds every source file that is imported (else ModuleNotFoundError),
that each Secret and Volume is declared where it is used, and what our code does when Modal
redelivers, reruns, preempts, crashes, expires or loses an answer.

**What it cannot prove.** Modal's servers are not here:
- Image builds: recipes are recorded (`Image.env` is honoured), never built. No pip, no apt.
- GPUs: `gpu=` is recorded, in order of preference, never given. No GPU memory, no snapshots.
- Placement: no regions, no queue for scarce GPUs, no prices, no quotas and no rate limits (429).
- Latency: starts, commits and spawns take what local processes and files take.
- Auth: any token is let in. Proxy auth checks that headers are there, not what they say.
- HTTP: no 150 s limit with a 303, no body limit, no WebSocket, no TLS, no domain of its own: a
  Function lives below /web/<label>/ (`http://<label>.localhost:PORT/` works too).
- `.map`, `.spawn_map`, Sandboxes, Queues, Proxies, tunnels, bucket mounts, memory snapshots and
  whatever else answers UNIMPLEMENTED (the RPC log names it).
- Environments: one, called "main". History: `version=` and rollback are ignored. State other
  than the Volumes' files lives as long as the server's process.

**Where Modal's documents are silent or vague, this was chosen:**
- Rerun after a crash or a preemption: the same input, `retry_count` one higher, not counted
  against `retries=`. A failure or a timeout counts against `retries=`.
- Preemption: SIGINT, 30 s, SIGKILL. A timeout stops the container (1 s of grace) unless
  it runs concurrent inputs; then the one input is cancelled.
- A container that dies on import, in @enter or at work is replaced after 0.2 s, doubling to 4 s
  until a container answers. The call waits for ever, as documented for deployed Apps; an
  ephemeral App (`modal run`) fails its calls after the third crash in a row.
- A container that is stopping counts towards `max_containers` until it is gone.
- Rolling redeploy: new containers take new inputs; old ones finish theirs, side by side and
  beyond `max_containers`. `--strategy recreate` interrupts the old ones, but the new ones do not
  wait for that: Modal's client publishes before it stops, and so overlaps too.
- Volume commit: files changed since the last commit or reload replace those of the Volume, whole
  file by whole file, the last commit wins; deleted files are deleted. No reload comes with it. A
  reload commits first, and fails while a file is open. Modal's runtime commits when a container
  exits in good order; there is no commit every few seconds, so SIGKILL loses what was not
  committed. A mount is a working copy of the whole Volume (hard links when read-only).
- A web input is rerun after a crash only while no byte of the response was sent.
"""
