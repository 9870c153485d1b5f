# The service as an image. Targets: cpu (the default, last) and gpu.
#
#   docker build -f docker/service.Dockerfile --target cpu -t longtail:cpu .
#
# All packages, including CUDA 13 and cuDNN 9, are wheels that uv.lock pins by hash. So both targets share one base image,
# and the shipped packages are the tested ones. See docs/how-to/deploy.md.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG UV_VERSION=0.13.9
ENV UV_PROJECT_ENVIRONMENT=/opt/longtail/venv UV_PYTHON=python3 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir uv==${UV_VERSION}
WORKDIR /opt/longtail/app
COPY pyproject.toml uv.lock ./

# These two stages depend only on pyproject.toml and uv.lock, so they stay cached until one of those changes.
FROM build AS build-cpu
ARG EXTRA_GROUPS="--group grpc"
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-default-groups --group cpu ${EXTRA_GROUPS}

FROM build AS build-gpu
ARG EXTRA_GROUPS="--group grpc"
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-default-groups --group gpu ${EXTRA_GROUPS}

FROM ${BASE} AS app
WORKDIR /opt/longtail/app
COPY LICENSE ./
COPY engines engines
COPY models models
COPY service service
# Compile now: the container's root file system is read-only.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash engines models service

# Shared by both targets: a dedicated user, and neither pip nor build tools.
FROM ${BASE} AS runtime
RUN groupadd --gid 10001 longtail && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin longtail \
 && rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/site-packages/pip* \
    /usr/local/lib/python3*/site-packages/setuptools* /usr/local/lib/python3*/site-packages/wheel* \
 && install -d /models && install -d -o longtail -g longtail /state
ENV PATH=/opt/longtail/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1 \
    LONGTAIL_HOST=0.0.0.0 LONGTAIL_PORT=8000 LONGTAIL_DATABASE=sqlite:////state/longtail.db
COPY --from=app /opt/longtail/app /opt/longtail/app
WORKDIR /opt/longtail/app
USER 10001:10001
VOLUME /state
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "service.probe"]
ENTRYPOINT ["python", "-m", "service"]

FROM runtime AS gpu
ENV LONGTAIL_DEVICE=cuda NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-gpu /opt/longtail/venv /opt/longtail/venv

FROM runtime AS cpu
COPY --from=build-cpu /opt/longtail/venv /opt/longtail/venv
