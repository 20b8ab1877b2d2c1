# A static binary in an image of its own. `docker build -t vestibule .`; see docs/containers.md.

# The tool chain of this image is musl's, which links everything statically by default.
FROM rust:1-alpine AS build
# aws-lc and jemalloc are C: a compiler and make are needed, and no cmake, no bindgen and no kernel headers.
RUN apk add --no-cache gcc make musl-dev
WORKDIR /src
COPY . .
RUN cargo build --release --locked && target/release/vestibule --version

FROM scratch
COPY --from=build /src/target/release/vestibule /vestibule
# A number, so that Kubernetes' runAsNonRoot can see what it is. Nothing is written, and 8443 needs no capability.
USER 65532:65532
EXPOSE 8443
ENTRYPOINT ["/vestibule"]
CMD ["--help"]
