# The images of docker-compose.yml: `docker build --target api .`, or worker, or worker-gpu.
# Their packages have the versions of constraints.txt, with which the tests run.

FROM python:3.11.14-slim-bookworm AS base
RUN useradd --uid 10001 --home-dir /data --no-create-home rushes \
    && install --directory --owner rushes --group rushes --mode 700 /data
ENV PATH=/opt/rushes/bin:$PATH HOME=/data RUSHES_DATA_DIR=/data
WORKDIR /data


FROM base AS packages
# Compiled when built: the file system is read-only when run.
ENV UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 VIRTUAL_ENV=/opt/rushes UV_CONSTRAINT=/src/constraints.txt
WORKDIR /src
RUN pip install --no-cache-dir uv==0.13.9
COPY pyproject.toml constraints.txt README.md ./
# The API too speaks the texts of avatars, and checks their photos.
RUN uv venv /opt/rushes && uv pip install --requirement pyproject.toml --extra s3 --extra avatar

FROM packages AS api-packages
RUN uv pip install --requirement pyproject.toml --extra postgres --extra traces
COPY migrations migrations
COPY service service
RUN uv pip install --no-deps .

FROM packages AS worker-packages
RUN uv pip install --requirement pyproject.toml --extra fonts

FROM worker-packages AS worker-gpu-packages
RUN uv pip install --requirement pyproject.toml --extra torch --extra quantize
COPY migrations migrations
COPY service service
RUN uv pip install --no-deps .

FROM worker-packages AS worker-cpu-packages
COPY migrations migrations
COPY service service
RUN uv pip install --no-deps .


FROM base AS api
COPY --from=api-packages /opt/rushes /opt/rushes
COPY --chmod=755 packaging/container /opt/container
USER 10001:10001
EXPOSE 8787
CMD ["rushes", "up", "--workers", "0"]

FROM base AS worker
COPY --from=worker-cpu-packages /opt/rushes /opt/rushes
COPY --chmod=755 packaging/container /opt/container
USER 10001:10001
CMD ["rushes", "worker"]

FROM base AS worker-gpu
# Triton compiles its launchers with it.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=worker-gpu-packages /opt/rushes /opt/rushes
COPY --chmod=755 packaging/container /opt/container
ENV HF_HOME=/data/models RUSHES_COMPILED_DIR=/data/compiled
USER 10001:10001
CMD ["rushes", "worker"]
