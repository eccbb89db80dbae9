# The operator's image with Docker. `make image` builds the same without it, and decision 0047 says why it is built so.
FROM rust:1.95-bookworm AS build
WORKDIR /mayday
COPY . .
RUN host=$(rustc -vV | sed -n 's/^host: //p') \
 && RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --target "$host" --bin mayday \
 && mv "target/$host/release/mayday" target/

FROM scratch
LABEL org.opencontainers.image.title="Mayday" \
      org.opencontainers.image.description="Kubernetes operator for outages" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /mayday/target/mayday /mayday
USER 65532:65532
ENTRYPOINT ["/mayday"]
