# One image for every process of the installation: gateway, stream, relay, workers, upkeep, migrate.
# No torch, no compiler, no root. PostgreSQL's client, of compose's server's version or newer, is what
# goldentime backup and restore call.
FROM python:3.12-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/goldentime
WORKDIR /build
# The locked packages first: this layer changes only with the lock.
COPY requirements/runtime.txt requirements/
RUN /opt/goldentime/bin/pip install --no-deps --require-hashes -r requirements/runtime.txt
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY broker broker
COPY dispatch dispatch
COPY migrations migrations
COPY models models
COPY web web
COPY workers workers
RUN /opt/goldentime/bin/pybabel --quiet compile --directory web/translations
RUN /opt/goldentime/bin/pip install --no-deps --no-build-isolation .

FROM python:3.12-slim-trixie
LABEL org.opencontainers.image.title="goldentime" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later"
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /var/lib/goldentime --shell /usr/sbin/nologin goldentime \
    && install -d -o goldentime -g goldentime -m 0750 /var/lib/goldentime /var/lib/goldentime/images
COPY --from=build /opt/goldentime /opt/goldentime
ENV PATH=/opt/goldentime/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GOLDENTIME_DATA_DIR=/var/lib/goldentime
WORKDIR /var/lib/goldentime
USER goldentime
CMD ["goldentime", "--help"]
