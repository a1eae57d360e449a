# The gateway in a small image: built here, run as a user without rights.
#   docker build -t slotcast .
#   docker run -p 8080:8080 -e SLOTCAST_REDIS_URL=redis://host.docker.internal:6379/0 slotcast
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package slotcast-gateway --bin slotcast

# The C library and the certificates of public authorities: no shell, no package manager. Its Debian is that of the stage
# above, so the program finds the C library it was linked with.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/slotcast /usr/local/bin/slotcast
# Behind a proxy in another container, name that network too: SLOTCAST_SERVER_TRUSTED_PROXIES=127.0.0.0/8,172.16.0.0/12
ENV SLOTCAST_SERVER_LISTEN=0.0.0.0:8080
EXPOSE 8080
# The base image's nonroot, by number: whoever runs it can see that this is not root (Kubernetes' runAsNonRoot).
USER 65532:65532
# Ready, not only alive: it asks /readyz where this configuration listens, over TLS or a socket file too.
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["/usr/local/bin/slotcast", "healthcheck"]
# The first process, which gets the signals: SIGTERM says goodbye to every browser (give it longer than
# server.drain_secs: docker stop --time 20), SIGHUP reads the configuration anew.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/slotcast"]
