# docker build -t ringback .
# docker run --rm -it -v ringback:/data ringback init
# docker run -d --name ringback --network host --stop-timeout 90 --read-only --tmpfs /tmp -v ringback:/data ringback
#
# /data holds ringback.yaml and the database, and belongs to user 29330.
FROM python:3.12-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/ringback
COPY requirements/runtime.lock requirements/
RUN /opt/ringback/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY bridge bridge
COPY media media
COPY sip sip
RUN /opt/ringback/bin/pip install --no-cache-dir --no-deps . \
    && /opt/ringback/bin/python -m compileall -q /opt/ringback/lib

FROM python:3.12-slim-bookworm
RUN groupadd --gid 29330 ringback \
    && useradd --uid 29330 --gid 29330 --home-dir /data --no-create-home --shell /usr/sbin/nologin ringback \
    && install -d -o 29330 -g 29330 -m 0700 /data
COPY --from=build /opt/ringback /opt/ringback
ENV PATH=/opt/ringback/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RINGBACK_CONFIG=/data/ringback.yaml
USER 29330:29330
WORKDIR /data
VOLUME /data
EXPOSE 29330/tcp 40000-40999/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["ringback", "health"]
ENTRYPOINT ["ringback"]
CMD ["run"]
