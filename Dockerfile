# The zcrx command, built against the pinned liburing and kernel headers.
#
#   docker build -t zcrx .
#   docker run --rm zcrx probe
#
# Docker's default seccomp profile refuses io_uring, and zero-copy receive wants
# CAP_NET_ADMIN and the host's network interface; `zcrx probe` prints what is
# missing and why.

ARG GO_VERSION=1.26
ARG DEBIAN_SUITE=bookworm

FROM golang:${GO_VERSION}-${DEBIAN_SUITE} AS build
WORKDIR /src

# The version of Debian's linux-libc-dev. The default is in liburing.lock, and is
# one of the suite above; to build on another suite, set both arguments.
ARG KERNEL_HEADERS_VERSION=
COPY third_party/liburing third_party/liburing
# The base image may have newer headers than the pinned ones.
RUN lock=third_party/liburing/liburing.lock \
 && version=${KERNEL_HEADERS_VERSION:-$(sed -n 's/^kernel_headers_version=//p' "$lock")} \
 && package=$(sed -n 's/^kernel_headers_package=//p' "$lock") \
 && apt-get update \
 && apt-get install -y --no-install-recommends --allow-downgrades "$package=$version" \
 && rm -rf /var/lib/apt/lists/*

COPY tools/debian/download tools/debian/download
RUN third_party/liburing/build

# Dependencies change less often than the source.
COPY go.work* go.mod go.sum ./
COPY bench/go.mod bench/go.sum bench/
COPY cmd/zcrx/go.mod cmd/zcrx/go.sum cmd/zcrx/
COPY vm/go.mod vm/go.sum vm/
COPY examples/go.mod examples/go.sum examples/
COPY test/conn/go.mod test/conn/go.sum test/conn/
COPY test/zerocopy/go.mod test/zerocopy/go.sum test/zerocopy/
RUN go mod download

COPY . .
RUN go build ./... \
 && go build -trimpath -tags netgo,osusergo -ldflags '-linkmode external -extldflags -static' \
    -o /out/zcrx ./cmd/zcrx

# The binary is static and needs no other file.
FROM scratch
COPY --from=build /out/zcrx /zcrx
COPY --from=build /src/LICENSE /LICENSE
ENTRYPOINT ["/zcrx"]
