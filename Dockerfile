# The images of Headrace, one target each: bridge, processors, hub, tools. How to build and push them: docs/images.md.
# Nothing here depends on the architecture: every package is a locked wheel, and all have one for amd64 and arm64.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Headrace's own wheel. hatchling, which builds it, stays here.
FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY requirements/build.lock ./
RUN python -m venv /build \
    && /build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r build.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY bridge bridge
COPY processors processors
COPY hub hub
COPY headrace headrace
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .

# A virtual environment without pip. Only wheels come into it, by their hashes.
FROM ${PYTHON_IMAGE} AS environment
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PIP_ONLY_BINARY=:all:
RUN python -m venv --without-pip /opt/headrace
WORKDIR /src
COPY scripts/strip_environment.py ./

# Headrace alone: the layer that changes with the code, the same in all images.
FROM environment AS application
COPY --from=wheel /wheel /wheel
RUN python -m pip --python /opt/headrace/bin/python install --no-deps /wheel/*.whl \
    && /opt/headrace/bin/python strip_environment.py

FROM environment AS bridge-packages
COPY requirements/bridge.lock ./
RUN python -m pip --python /opt/headrace/bin/python install --require-hashes -r bridge.lock \
    && /opt/headrace/bin/python strip_environment.py

FROM environment AS processors-packages
COPY requirements/processors.lock ./
RUN python -m pip --python /opt/headrace/bin/python install --require-hashes -r processors.lock \
    && /opt/headrace/bin/python strip_environment.py

FROM environment AS hub-packages
COPY requirements/hub.lock ./
RUN python -m pip --python /opt/headrace/bin/python install --require-hashes -r hub.lock \
    && /opt/headrace/bin/python strip_environment.py

FROM environment AS tools-packages
COPY requirements/tools.lock ./
RUN python -m pip --python /opt/headrace/bin/python install --require-hashes -r tools.lock \
    && /opt/headrace/bin/python strip_environment.py

# What all four stand on: no pip, and the standard library compiled, which Docker's slim image leaves to each start.
FROM ${PYTHON_IMAGE} AS base
RUN library=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
    && for folder in $(python -c 'import site; print(*site.getsitepackages())'); do rm -rf "$folder"/*; done \
    && rm -rf "$library/ensurepip" "$library/idlelib" "$library/lib2to3" /usr/local/bin/pip* /usr/bin/pip* /root/.cache \
    && python -m compileall -q --invalidation-mode unchecked-hash -x '/(test|tests|turtledemo|tkinter|distutils)/' "$library"
# Where the configuration is mounted. A home folder there is none, nor is anything written outside /tmp.
ENV PATH=/opt/headrace/bin:$PATH HEADRACE_CONFIG=/etc/headrace/headrace.yaml \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
USER 10001:10001
LABEL org.opencontainers.image.vendor="Headrace" org.opencontainers.image.licenses="Apache-2.0"

# What serves /livez, /readyz and /metrics.
FROM base AS service
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "headrace.operate.probe", "http://127.0.0.1:8080/readyz"]

# `ingest` instead of nothing: POST /readings on 8091; health and metrics on 8080 as the others.
FROM service AS bridge
COPY --from=bridge-packages /opt/headrace /opt/headrace
COPY --from=application /opt/headrace /opt/headrace
EXPOSE 8091
ENTRYPOINT ["python", "-m", "bridge"]
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="headrace-bridge" \
      org.opencontainers.image.description="Headrace's bridge: MQTT to Kafka, and HTTP to Kafka" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

FROM service AS processors
COPY --from=processors-packages /opt/headrace /opt/headrace
COPY --from=application /opt/headrace /opt/headrace
ENTRYPOINT ["python", "-m", "processors"]
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="headrace-processors" \
      org.opencontainers.image.description="Headrace's processors: Kafka to Kafka (clean, derive), Kafka to the lake (archive, compact)" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

# Its API listens on 8090, with tokens; health and metrics on 8080 as those of the others.
FROM service AS hub
COPY --from=hub-packages /opt/headrace /opt/headrace
COPY --from=application /opt/headrace /opt/headrace
EXPOSE 8090
ENTRYPOINT ["python", "-m", "hub"]
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="headrace-hub" \
      org.opencontainers.image.description="Headrace's hub: the registry of devices, over HTTP" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

FROM base AS tools
COPY --from=tools-packages /opt/headrace /opt/headrace
COPY --from=application /opt/headrace /opt/headrace
ENTRYPOINT ["headrace"]
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="headrace-tools" \
      org.opencontainers.image.description="Headrace's command line: provision, simulate, query, verify, dlq and more" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
