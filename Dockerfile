# One image for every process of our own: workers, Ray, Spark, the API. It has what a run needs (requirements.lock) and
# neither the tape's data (GPL) nor the tools of development.
# The base is named by digest; a newer one: `docker buildx imagetools inspect python:3.12-slim-bookworm`.
ARG BASE=python:3.12-slim-bookworm@sha256:0f5b26b9518d002b6173fd61daad821fa340635ebfec5bba471013f9ca114579
FROM ${BASE}

RUN apt-get update \
    && apt-get install -y --no-install-recommends openjdk-17-jre-headless make procps \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home escape && mkdir -p /app /data/reports && chown -R escape:escape /app /data
USER escape
WORKDIR /app
COPY --chown=escape:escape . .
ENV PATH=/app/.venv/bin:$PATH ESCAPE_STATE=/data ESCAPE_CACHE=/home/escape/.cache/escapecapitalism
RUN make setup LOCKS=requirements.lock
ENTRYPOINT []
CMD ["escape", "--help"]
