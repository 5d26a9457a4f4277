// Package csrc holds the C headers that the cgo files of zcrx and uring include.
// It has no Go API. It is a package so that go mod vendor, which leaves out folders
// without Go files, copies the headers. It embeds them so that the go command, which
// does not see what C includes, recompiles its importers when a header changes.
//
// Start with uring_shim.h, on which zcrx_shim.h builds.
package csrc

import "embed"

//go:embed *.h
var _ embed.FS
