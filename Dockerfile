# Static binaries and certificates, and nothing else: no shell, no package manager, no root.
FROM golang:1.26.8-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/ ./cmd/platform ./cmd/wechatsim && mkdir /data

FROM scratch AS wechatsim
COPY --from=build /out/wechatsim /wechatsim
USER 65532:65532
EXPOSE 9080
ENTRYPOINT ["/wechatsim"]
CMD ["--listen=0.0.0.0:9080"]

FROM scratch AS platform
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/platform /platform
# SQLite's file is here unless PLATFORM_DATABASE_URL names another database.
COPY --from=build --chown=65532:65532 /data /data
WORKDIR /data
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/platform", "ready"]
ENTRYPOINT ["/platform"]
CMD ["serve"]
