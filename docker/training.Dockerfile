# Training as an image, with torch and its CUDA libraries as wheels. It uses a GPU if the container has one.
#
#   docker build -f docker/training.Dockerfile -t longtail:training .
#   docker run --rm --gpus all -v ./data:/data:ro -v ./runs:/runs longtail:training train cifar10-lt --data /data/cifar10-lt.zip --out /runs/one
#
# See docs/how-to/deploy.md.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG UV_VERSION=0.13.9
ENV UV_PROJECT_ENVIRONMENT=/opt/longtail/venv UV_PYTHON=python3 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_CACHE=1
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir uv==${UV_VERSION}
WORKDIR /opt/longtail/app
COPY pyproject.toml uv.lock ./
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-default-groups --group cpu --group train --group backbones

FROM ${BASE} AS training
RUN groupadd --gid 10001 longtail && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin longtail \
 && install -d -o longtail -g longtail /runs
ENV PATH=/opt/longtail/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1 \
    MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/runs/cache NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build /opt/longtail/venv /opt/longtail/venv
WORKDIR /opt/longtail/app
COPY LICENSE ./
COPY models models
COPY training training
USER 10001:10001
VOLUME /runs
ENTRYPOINT ["python", "-m", "training"]
