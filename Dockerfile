# One image for every process of our own: workers, Ray, Spark, the API. Versions are those of requirements.lock.
FROM python:3.12-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends openjdk-17-jre-headless make procps \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home escape && mkdir /app /data && chown escape:escape /app /data
USER escape
WORKDIR /app
COPY --chown=escape:escape . .
ENV PATH=/app/.venv/bin:$PATH ESCAPE_STATE=/data ESCAPE_CACHE=/home/escape/.cache/escapecapitalism
RUN make setup
ENTRYPOINT []
CMD ["escape", "--help"]
