# The gateway in a small image: built here, run as a user without rights.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package slotcast-gateway --bin slotcast

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --shell /usr/sbin/nologin slotcast
COPY --from=build /src/target/release/slotcast /usr/local/bin/slotcast
USER slotcast
ENV SLOTCAST_SERVER_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["slotcast"]
