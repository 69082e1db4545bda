# syntax=docker/dockerfile:1

# --- Build ------------------------------------------------------------------------------------------------------------
FROM swift:6.2-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        binutils libargon2-dev libpq-dev libsqlite3-dev pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# Package.resolved where there is one. What was compiled before stays in the builder's cache, not in the image.
COPY Package.swift Package.resolve[d] ./
COPY Sources Sources
RUN --mount=type=cache,target=/src/.build,sharing=locked \
    --mount=type=cache,target=/root/.cache,sharing=locked \
    swift build -c release --product kuvend --static-swift-stdlib \
    && install -D -m 0755 .build/release/kuvend /out/kuvend
COPY Scripts/strip.sh Scripts/
RUN Scripts/strip.sh /out/kuvend

# --- Debug symbols, to read a crash with: docker build --target debug --output symbols . --------------------------------
FROM scratch AS debug
COPY --from=build /out/kuvend.debug /

# --- Run --------------------------------------------------------------------------------------------------------------
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libargon2-1 libpq5 libsqlite3-0 libstdc++6 \
        tzdata zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin kuvend \
    && install -d -o kuvend -g kuvend -m 0700 /var/lib/kuvend
COPY --from=build /out/kuvend /usr/local/bin/kuvend

# The SQLite database, when no KUVEND_DATABASE_URL is set, and the secret key that encrypts credentials: back it up.
VOLUME /var/lib/kuvend
ENV KUVEND_DATA_DIR=/var/lib/kuvend \
    KUVEND_HOST=0.0.0.0 \
    KUVEND_PORT=8080
USER kuvend
EXPOSE 8080
STOPSIGNAL SIGTERM

# Asked with what the image has: bash opens the connection itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/${KUVEND_PORT} && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r -t 4 _ status _ <&3 && [[ $status == 200 ]]"]

# `kuvend migrate` first, once for each version; then `kuvend serve`, as often as there are machines.
ENTRYPOINT ["kuvend"]
CMD ["serve"]
